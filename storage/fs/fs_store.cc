#include "storage/fs/fs_store.h"

#include <sys/statvfs.h>

#include <cerrno>
#include <utility>
#include <vector>

#include "storage/fs/beneath.h"
#include "storage/fs/placing.h"

namespace millrace {
namespace {

// Opens our part of a bucket, which cleans it up, if the bucket has one already.
Result<std::uint64_t> sweep_bucket(fs::Buckets& buckets, const std::string& name) {
  const auto bucket = buckets.find(name);
  if (!bucket) return fail(bucket.error());
  if (!fs::open_directory((*bucket)->directory(), fs::kPrivateFolder)) return 0;
  const auto workspace = (*bucket)->workspace();
  if (!workspace) return fail(workspace.error());
  return (*workspace)->sweep((*bucket)->directory());
}

}  // namespace

Result<std::unique_ptr<FsStore>> FsStore::open(EventLoop& loop, BlockingPool& pool, Log& log, Metrics& metrics,
                                               FsStoreOptions options) {
  auto buckets = fs::Buckets::open(options.root, std::move(options.places));
  if (!buckets) return fail(buckets.error());
  auto names = (*buckets)->names();
  if (!names) return fail(names.error());
  names->emplace_back();  // the root itself

  auto& swept_total = metrics.counter("millrace_storage_swept_total", "Temporary files of dead processes removed.");
  for (const auto& name : *names) {
    const auto swept = sweep_bucket(**buckets, name);
    if (!swept) {
      // One bucket that cannot be written to must not keep the others from working.
      log.warn("bucket not cleaned up", {{"bucket", name}, {"error", swept.error()}});
    } else if (*swept > 0) {
      swept_total.add(*swept);
      log.info("leftovers removed", {{"bucket", name}, {"files", *swept}});
    }
  }
  return std::unique_ptr<FsStore>(new FsStore(loop, pool, metrics, std::move(*buckets)));
}

Result<std::uint64_t> FsStore::free_bytes(const std::string& bucket) {
  const auto found = buckets_->find(bucket);
  if (!found) return fail(found.error());
  return fs::free_bytes((*found)->directory(), (*found)->label());
}

Result<bool> FsStore::weak_placing(const std::string& bucket) {
  const auto found = buckets_->find(bucket);
  if (!found) return fail(found.error());
  const auto workspace = (*found)->workspace();
  if (!workspace) return fail(workspace.error());
  return fs::is_weak_placing(**workspace);
}

}  // namespace millrace
