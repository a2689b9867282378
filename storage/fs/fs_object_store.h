// FsObjectStore: the object store port on plain files. Users see and edit what it shows; `.millrace/` is ours.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/blocking_pool.h"
#include "async/task_group.h"
#include "storage/fs/buckets.h"
#include "storage/object_store.h"
#include "telemetry/metrics.h"

namespace millrace {

class FsObjectStore final : public ObjectStore {
 public:
  FsObjectStore(EventLoop& loop, BlockingPool& pool, Metrics& metrics, std::shared_ptr<fs::Buckets> buckets);

  Task<Result<void>> ensure_bucket(std::string bucket) override;
  Task<Result<void>> check_buckets(FunctionBuckets buckets) override;
  Task<Result<std::vector<std::string>>> buckets() override;
  Task<Result<ObjectInfo>> stat(std::string bucket, std::string key) override;
  Task<Result<Listing>> list(std::string bucket, std::string prefix, std::string after, std::size_t limit) override;
  Task<Result<OpenedObject>> open(ObjectRef object) override;

  // The upload must be committed or dropped before the store goes.
  Task<Result<std::unique_ptr<Upload>>> start_put(std::string bucket, std::string key) override;
  Task<Result<void>> remove(std::string bucket, std::string key) override;

 private:
  class FsUpload;

  void drop(std::move_only_function<void()> last_owner);
  Task<void> drop_in_pool(std::move_only_function<void()> last_owner);

  BlockingPool& pool_;
  Histogram& put_time_;
  Counter& dropped_;
  std::shared_ptr<fs::Buckets> buckets_;
  TaskGroup cleaning_;
};

}  // namespace millrace
