#include "producers/first_fill.h"

#include <algorithm>
#include <chrono>

#include "async/task_group.h"
#include "engine/ingest.h"
#include "producers/examiner.h"
#include "producers/probe.h"

namespace millrace {

FirstFill::FirstFill(EventLoop& loop, ObjectStore& objects, WriteCheck& checks, Options options)
    : loop_(loop), objects_(objects), checks_(checks), options_(options), probes_(loop, options.probes_max) {}

Task<Result<FirstRows>> FirstFill::collect(Trigger trigger) {
  const std::string bucket(trigger.path.bucket());
  FirstRows found;
  std::string after;
  for (;;) {
    const auto listing = co_await objects_.list(bucket, trigger.path.folder(), after, options_.page);
    if (!listing) co_return fail(listing.error());
    Result<void> result;
    {
      TaskGroup looks(loop_);
      for (const auto& info : listing->objects) looks.spawn(look(trigger, info, found, result));
      co_await looks.join();
    }
    if (!result) co_return fail(result.error());
    if (!listing->truncated || listing->objects.empty()) co_return found;
    after = listing->objects.back().key;
  }
}

Task<void> FirstFill::look(const Trigger& trigger, const ObjectInfo& info, FirstRows& found, Result<void>& result) {
  ObjectRef object{
      .bucket = std::string(trigger.path.bucket()), .key = info.key, .version = info.version, .private_path = {}};
  // What is ignored today gets its row, too: an update that ignores less must not run what lay there before.
  if (wanted(*trigger.function, info.key)) {
    const auto permit = co_await probes_.acquire(1);
    const auto probed = co_await probe(objects_, checks_, object);
    if (!probed) {
      const bool no_object = probed.error().code == Errc::not_found || probed.error().code == Errc::failed_precondition;
      if (!no_object && result) result = fail(probed.error());
      co_return;
    }
    object.version = probed->version;
    if (!left_alone(*trigger.function, probed->version, probed->state)) {
      found.unfinished.push_back(info.key);
      co_return;
    }
  }
  found.rows.insert_or_assign(info.key, object_event_id(object));
}

// There is no time to watch each file for its `settle`: one modified longer ago than that was left alone.
bool FirstFill::left_alone(const FunctionSpec& function, const ObjectVersion& version, WriteState state) const {
  if (state == WriteState::open_for_writing) return false;
  auto settle = function.settle;
  if (state == WriteState::unknown) settle = std::max(settle, kBlindSettle);
  if (settle.count() <= 0) return true;
  const auto modified = std::chrono::nanoseconds(version.mtime_ns);
  const auto age = loop_.wall_now().time_since_epoch() - modified;
  return age >= settle || age < -settle;  // a time in the future says nothing: such files are old, too
}

}  // namespace millrace
