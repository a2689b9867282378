#include "engine/guarded_store.h"

namespace millrace {
namespace {

template <class T>
Task<Result<T>> watched(Task<Result<T>> call, std::string name, Circuits& circuits) {
  auto result = co_await call;
  if (!result && retryable(result.error().code) && result.error().code != Errc::aborted) {
    circuits.store_trouble(name, result.error());
  }
  co_return result;
}

}  // namespace

Task<Result<void>> GuardedObjects::ensure_bucket(std::string bucket) {
  return watched(store_.ensure_bucket(std::move(bucket)), name_, circuits_);
}
Task<Result<std::vector<std::string>>> GuardedObjects::buckets() {
  return watched(store_.buckets(), name_, circuits_);
}
Task<Result<void>> GuardedObjects::check_buckets(FunctionBuckets buckets) {
  return watched(store_.check_buckets(std::move(buckets)), name_, circuits_);
}
Task<Result<ObjectInfo>> GuardedObjects::stat(std::string bucket, std::string key) {
  return watched(store_.stat(std::move(bucket), std::move(key)), name_, circuits_);
}
Task<Result<Listing>> GuardedObjects::list(std::string bucket, std::string prefix, std::string after,
                                           std::size_t limit) {
  return watched(store_.list(std::move(bucket), std::move(prefix), std::move(after), limit), name_, circuits_);
}
Task<Result<OpenedObject>> GuardedObjects::open(ObjectRef object) {
  return watched(store_.open(std::move(object)), name_, circuits_);
}
Task<Result<std::unique_ptr<Upload>>> GuardedObjects::start_put(std::string bucket, std::string key) {
  return watched(store_.start_put(std::move(bucket), std::move(key)), name_, circuits_);
}
Task<Result<void>> GuardedObjects::remove(std::string bucket, std::string key) {
  return watched(store_.remove(std::move(bucket), std::move(key)), name_, circuits_);
}

Task<Result<AttemptDirectory>> GuardedOutputs::make_attempt(AttemptPlace place) {
  return watched(store_.make_attempt(std::move(place)), name_, circuits_);
}
Task<Result<Sealed>> GuardedOutputs::seal(AttemptPlace place, SealLimits limits, OutputRank rank) {
  return watched(store_.seal(std::move(place), limits, std::move(rank)), name_, circuits_);
}
Task<Result<AttemptUsage>> GuardedOutputs::measure(AttemptPlace place, SealLimits limits) {
  return watched(store_.measure(std::move(place), limits), name_, circuits_);
}
Task<Result<std::vector<Placed>>> GuardedOutputs::place(std::vector<OutputFile> files, OutputRank rank) {
  return watched(store_.place(std::move(files), std::move(rank)), name_, circuits_);
}
Task<Result<std::vector<FoundAttempt>>> GuardedOutputs::attempts(AttemptPlace after, std::size_t limit) {
  return watched(store_.attempts(std::move(after), limit), name_, circuits_);
}

Task<Result<void>> GuardedOutputs::remove_attempt(AttemptPlace place) {
  return watched(store_.remove_attempt(std::move(place)), name_, circuits_);
}
Task<Result<std::optional<OutputMark>>> GuardedOutputs::mark_of(ObjectRef object) {
  return watched(store_.mark_of(std::move(object)), name_, circuits_);
}

}  // namespace millrace
