// A store whose errors are told to the circuits; in everything else the store behind it.
//
// Only errors that say the store is away or full count: an object that is not there is an answer.
// Threads: as the store behind it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "async/task.h"
#include "core/error.h"
#include "engine/circuits.h"
#include "storage/object_store.h"
#include "storage/output_store.h"

namespace millrace {

class GuardedObjects final : public ObjectStore {
 public:
  // `name`: the provider's, as functions say it.
  GuardedObjects(ObjectStore& store, std::string name, Circuits& circuits)
      : store_(store), name_(std::move(name)), circuits_(circuits) {}

  Task<Result<void>> ensure_bucket(std::string bucket) override;
  Task<Result<std::vector<std::string>>> buckets() override;
  Task<Result<void>> check_buckets(FunctionBuckets buckets) override;
  Task<Result<ObjectInfo>> stat(std::string bucket, std::string key) override;
  Task<Result<Listing>> list(std::string bucket, std::string prefix, std::string after, std::size_t limit) override;
  Task<Result<OpenedObject>> open(ObjectRef object) override;
  Task<Result<std::unique_ptr<Upload>>> start_put(std::string bucket, std::string key) override;
  Task<Result<void>> remove(std::string bucket, std::string key) override;

 private:
  ObjectStore& store_;
  std::string name_;
  Circuits& circuits_;
};

class GuardedOutputs final : public OutputStore {
 public:
  GuardedOutputs(OutputStore& store, std::string name, Circuits& circuits)
      : store_(store), name_(std::move(name)), circuits_(circuits) {}

  Task<Result<AttemptDirectory>> make_attempt(AttemptPlace place) override;
  Task<Result<Sealed>> seal(AttemptPlace place, SealLimits limits, OutputRank rank) override;
  Task<Result<AttemptUsage>> measure(AttemptPlace place, SealLimits limits) override;
  Task<Result<std::vector<Placed>>> place(std::vector<OutputFile> files, OutputRank rank) override;
  Task<Result<void>> remove_attempt(AttemptPlace place) override;
  Task<Result<std::vector<FoundAttempt>>> attempts(AttemptPlace after, std::size_t limit) override;
  Task<Result<std::optional<OutputMark>>> mark_of(ObjectRef object) override;

 private:
  OutputStore& store_;
  std::string name_;
  Circuits& circuits_;
};

}  // namespace millrace
