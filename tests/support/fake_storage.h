// Storage without a disk, for the simulation: objects and outputs are entries of maps. Every call answers in a later
// step of the loop, so that the order of steps is the seed's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "async/sleep.h"
#include "async/task.h"
#include "storage/object_store.h"
#include "storage/output_store.h"

namespace millrace {

enum class StorageCall : std::uint8_t {
  open,
  ensure_bucket,
  check_buckets,
  make_attempt,
  seal,
  place,
  remove_attempt,
  attempts
};

class FakeStorage final : public ObjectStore, public OutputStore {
 public:
  explicit FakeStorage(EventLoop& loop) : loop_(loop) {}

  // What a function leaves in its output directory; by the directory's host path.
  void leave(const std::string& host_path, const std::string& name) { left_[host_path].insert(name); }

  // Puts or replaces a user's object.
  ObjectRef put(const std::string& bucket, const std::string& key);
  void take_away(const std::string& bucket, const std::string& key) { visible_.erase({bucket, key}); }

  // A private copy as a row names it, or another one under the same path.
  ObjectVersion put_private(const std::string& path) { return private_[path] = next_version(); }

  // The next `count` calls of that kind fail with `error` and change nothing.
  void fail_next(StorageCall call, int count, Error error) { failing_[call] = {count, std::move(error)}; }
  std::function<Result<void>(const OutputFile& file)> on_place;  // may refuse
  std::function<void()> on_seal = [] {};
  std::function<void()> on_remove = [] {};  // before an attempt is removed
  void fail_placing(int count, Error error) { fail_next(StorageCall::place, count, std::move(error)); }
  [[nodiscard]] int calls(StorageCall call) const { return calls_.contains(call) ? calls_.at(call) : 0; }

  [[nodiscard]] std::vector<std::string> visible(const std::string& bucket) const;
  [[nodiscard]] RunId owner(const std::string& bucket, const std::string& key) const;
  [[nodiscard]] std::size_t attempts() const { return attempts_.size(); }
  [[nodiscard]] const std::set<std::string>& attempt_paths() const { return attempts_; }
  [[nodiscard]] int appearances(const std::string& bucket, const std::string& key) const;

  Task<Result<void>> ensure_bucket(std::string bucket) override;
  Task<Result<void>> check_buckets(FunctionBuckets buckets) override;
  Task<Result<std::vector<std::string>>> buckets() override;
  Task<Result<ObjectInfo>> stat(std::string bucket, std::string key) override;
  Task<Result<Listing>> list(std::string bucket, std::string prefix, std::string after, std::size_t limit) override;
  Task<Result<OpenedObject>> open(ObjectRef object) override;
  Task<Result<std::unique_ptr<Upload>>> start_put(std::string bucket, std::string key) override;
  Task<Result<void>> remove(std::string bucket, std::string key) override;

  Task<Result<AttemptDirectory>> make_attempt(AttemptPlace place) override;
  Task<Result<Sealed>> seal(AttemptPlace place, SealLimits limits, OutputRank rank) override;
  Task<Result<AttemptUsage>> measure(AttemptPlace place, SealLimits limits) override;
  Task<Result<std::vector<Placed>>> place(std::vector<OutputFile> files, OutputRank rank) override;
  Task<Result<void>> remove_attempt(AttemptPlace place) override;
  Task<Result<std::vector<FoundAttempt>>> attempts(AttemptPlace after, std::size_t limit) override;
  Task<Result<std::optional<OutputMark>>> mark_of(ObjectRef object) override;

 private:
  using Name = std::pair<std::string, std::string>;
  struct Visible {
    ObjectVersion version;
    OutputRank rank;  // of an output; empty run id: a user's
  };

  static std::string path_of(const AttemptPlace& place);
  Result<void> enter(StorageCall call);
  Result<Placed> place_one(const OutputFile& file, const OutputRank& rank);
  ObjectVersion next_version();

  EventLoop& loop_;
  std::map<Name, Visible> visible_;
  std::map<Name, int> appearances_;
  std::map<std::string, ObjectVersion> private_;       // by private path
  std::map<std::string, std::set<std::string>> left_;  // by host path
  std::map<std::string, Sealed> sealed_;               // by attempt
  std::set<std::string> attempts_;
  std::map<AttemptPlace, WallTime> made_;  // the same, by place
  std::map<StorageCall, int> calls_;
  std::map<StorageCall, std::pair<int, Error>> failing_;
  std::uint64_t next_inode_ = 1;
};

}  // namespace millrace
