// FsStore: the local store. Buckets are directories of plain files, for both ports of storage/.
//
//   auto store = FsStore::open(loop, pool, log, metrics, {.root = data + "/buckets"});
//   co_await (*store)->objects().stat("videos", "a.avi");
//
// `<root>/<bucket>/...` are the users' files; `.millrace/` in each bucket and in the root is ours.
//
// Threads: open() blocks, for the start of a process; the rest is called on the domain loop.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "core/error.h"
#include "storage/fs/buckets.h"
#include "storage/fs/fs_object_store.h"
#include "storage/fs/fs_output_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

struct FsStoreOptions {
  std::string root;                           // absolute; made where it is missing
  std::map<std::string, std::string> places;  // buckets that lie elsewhere: absolute directories
};

class FsStore {
 public:
  // Also cleans up what dead processes left on the way to a name. The pool, the loop, log and metrics outlive the
  // store.
  static Result<std::unique_ptr<FsStore>> open(EventLoop& loop, BlockingPool& pool, Log& log, Metrics& metrics,
                                               FsStoreOptions options);

  [[nodiscard]] ObjectStore& objects() { return objects_; }
  [[nodiscard]] OutputStore& outputs() { return outputs_; }

  // What this process may still write to the file system of a bucket (empty: of the root). Blocks as statvfs does.
  [[nodiscard]] Result<std::uint64_t> free_bytes(const std::string& bucket);

  // Where the bucket's directory is, or would be; for those who watch it.
  [[nodiscard]] std::string directory_of(const std::string& bucket) const { return buckets_->path_of(bucket); }

  // True where names cannot be exchanged in one step (NFS, FUSE): a worker that pauses while it places may put an older
  // result over a later one. Tries it out; blocks.
  [[nodiscard]] Result<bool> weak_placing(const std::string& bucket);

 private:
  FsStore(EventLoop& loop, BlockingPool& pool, Metrics& metrics, std::shared_ptr<fs::Buckets> buckets)
      : buckets_(std::move(buckets)),
        objects_(loop, pool, metrics, buckets_),
        outputs_(loop, pool, metrics, buckets_) {}

  std::shared_ptr<fs::Buckets> buckets_;
  FsObjectStore objects_;
  FsOutputStore outputs_;
};

}  // namespace millrace
