#include "producers/own_outputs.h"

#include <algorithm>
#include <utility>

namespace millrace {
namespace {

constexpr std::size_t kRunsKept = 32;
constexpr std::size_t kOutputsKept = 200'000;  // of all of them; the latest run is kept however many it has

std::string exact_name(const std::string& bucket, const std::string& key, const ObjectVersion& version) {
  return std::to_string(version.inode) + " " + std::to_string(version.size_bytes) + " " +
         std::to_string(version.mtime_ns) + " " + bucket + "/" + key;
}

}  // namespace

Task<Result<Ownership>> OwnOutputs::of(ObjectRef object) {
  const auto mark = co_await outputs_.mark_of(object);
  if (!mark) co_return fail(mark.error());
  if (!*mark) co_return Ownership::foreign;

  const auto turn = co_await loading_.acquire(1);
  const auto run = co_await load((*mark)->run_id);
  if (!run) co_return fail(run.error());
  if (*run == nullptr || !(*run)->outputs.contains(exact_name(object.bucket, object.key, object.version))) {
    co_return Ownership::foreign;
  }
  co_return (*run)->published ? Ownership::published : Ownership::publishing;
}

Task<Result<const OwnOutputs::Run*>> OwnOutputs::load(RunId run_id) {
  const auto kept = std::ranges::find(kept_, run_id, &Run::run_id);
  if (kept != kept_.end()) {
    kept_.splice(kept_.begin(), kept_, kept);
    co_return &kept_.front();
  }
  const auto record = co_await runs_.get(run_id);
  if (!record) co_return fail(record.error());
  if (!*record) co_return nullptr;  // another installation's file, or the row's time is over
  co_return remember(**record);
}

const OwnOutputs::Run* OwnOutputs::remember(const RunRecord& record) {
  Run run{.run_id = record.run_id, .published = record.published, .outputs = {}};
  for (const auto& output : record.outputs) {
    run.outputs.insert(exact_name(output.bucket, output.key, output.placed));
  }
  kept_outputs_ += run.outputs.size();
  kept_.push_front(std::move(run));
  while (kept_.size() > 1 && (kept_.size() > kRunsKept || kept_outputs_ > kOutputsKept)) {
    kept_outputs_ -= kept_.back().outputs.size();
    kept_.pop_back();
  }
  return &kept_.front();
}

}  // namespace millrace
