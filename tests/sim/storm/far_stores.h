// The state store and the storage as one life of a node sees them: through the wire.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "state/state_store.h"
#include "storage/object_store.h"
#include "storage/output_store.h"
#include "tests/sim/storm/wire.h"

namespace millrace::storm {

inline Task<Result<CommitResult>> commit_noted(std::shared_ptr<Life> life, RunStore& store, RunRecord record) {
  auto done = co_await store.commit(std::move(record));
  if (done && done->won) life->sky.ledger.committed(done->standing);
  co_return done;
}

inline Task<Result<void>> mark_noted(std::shared_ptr<Life> life, RunStore& store, RunId run_id, RunMarks marks) {
  const auto [placed, published] = std::pair(marks.placed, marks.published);
  auto done = co_await store.mark(run_id, std::move(marks));
  if (done) life->sky.ledger.marked(run_id, placed, published);
  co_return done;
}

class FarState final : public StateStore, FunctionStore, RunStore, SeenStore {
 public:
  FarState(std::shared_ptr<Life> life, StateStore& store) : life_(std::move(life)), store_(store) {}

  [[nodiscard]] const std::string& id() const override { return store_.id(); }
  FunctionStore& functions() override { return *this; }
  RunStore& runs() override { return *this; }
  SeenStore& seen() override { return *this; }
  Task<void> close() override { co_return; }

 private:
  // Functions come and go in calm weather only: what that does is tested elsewhere.
  Task<Result<void>> put(FunctionSpec function) override { return store_.functions().put(std::move(function)); }
  Task<Result<void>> remove(std::string name) override { return store_.functions().remove(std::move(name)); }
  Task<Result<std::vector<FunctionSpec>>> all() override { return store_.functions().all(); }

  Task<Result<std::optional<RunRecord>>> begin_attempt(Attempt attempt) override {
    const std::string what = "begin_attempt " + attempt.run_id.str();
    return wire::ask(life_, what, store_.runs().begin_attempt(std::move(attempt)));
  }
  Task<Result<void>> end_attempt(Attempt attempt) override {
    const std::string what = "end_attempt " + attempt.run_id.str();
    return wire::ask(life_, what, store_.runs().end_attempt(std::move(attempt)));
  }
  Task<Result<bool>> abandon_attempt(Attempt attempt) override {
    const std::string what = "abandon_attempt " + attempt.run_id.str();
    return wire::ask(life_, what, store_.runs().abandon_attempt(std::move(attempt)));
  }
  Task<Result<std::vector<Attempt>>> attempts(RunId run_id) override {
    return wire::ask(life_, "attempts", store_.runs().attempts(std::move(run_id)));
  }
  Task<Result<std::vector<Attempt>>> open_attempts(WallTime before, AttemptToken after, std::size_t limit) override {
    return wire::ask(life_, "open_attempts", store_.runs().open_attempts(before, after, limit));
  }
  Task<Result<std::vector<Attempt>>> stale_directories(std::size_t limit) override {
    return wire::ask(life_, "stale_directories", store_.runs().stale_directories(limit));
  }
  Task<Result<void>> forget_directory(AttemptToken token) override {
    return wire::ask(life_, "forget_directory", store_.runs().forget_directory(std::move(token)));
  }
  Task<Result<std::vector<AttemptToken>>> unclaimed_directories(std::vector<AttemptToken> tokens) override {
    return wire::ask(life_, "unclaimed_directories", store_.runs().unclaimed_directories(std::move(tokens)));
  }
  Task<Result<CommitResult>> commit(RunRecord record) override {
    const std::string what = "commit " + record.run_id.str() + " " + std::string(name_of(record.outcome));
    return wire::ask(life_, what, commit_noted(life_, store_.runs(), std::move(record)));
  }
  Task<Result<void>> mark(RunId run_id, RunMarks marks) override {
    const std::string what = "mark " + run_id.str();
    return wire::ask(life_, what, mark_noted(life_, store_.runs(), std::move(run_id), std::move(marks)));
  }
  Task<Result<std::optional<RunRecord>>> get(RunId run_id) override {
    return wire::ask(life_, "get", store_.runs().get(std::move(run_id)));
  }
  Task<Result<std::vector<RunRecord>>> list(RunFilter filter) override {
    return wire::ask(life_, "list", store_.runs().list(std::move(filter)));
  }
  Task<Result<std::vector<RunRecord>>> unfinished(WallTime before, RunId after, std::size_t limit) override {
    return wire::ask(life_, "unfinished", store_.runs().unfinished(before, std::move(after), limit));
  }
  Task<Result<Order>> newest_order() override { return wire::ask(life_, "newest_order", store_.runs().newest_order()); }
  Task<Result<std::vector<RunRecord>>> of_event(EventId event_id) override {
    return wire::ask(life_, "of_event", store_.runs().of_event(std::move(event_id)));
  }
  Task<Result<std::vector<RunRecord>>> caused_by(RunId run_id) override {
    return wire::ask(life_, "caused_by", store_.runs().caused_by(std::move(run_id)));
  }
  Task<Result<std::optional<WallTime>>> committed_before_last(std::size_t count) override {
    return wire::ask(life_, "committed_before_last", store_.runs().committed_before_last(count));
  }
  Task<Result<std::vector<OldRun>>> removable(WallTime before, RunId after, std::size_t limit) override {
    return wire::ask(life_, "removable", store_.runs().removable(before, std::move(after), limit));
  }
  Task<Result<std::size_t>> remove(std::vector<RunId> run_ids) override {
    return wire::ask(life_, "remove", store_.runs().remove(std::move(run_ids)));
  }
  Task<Result<std::size_t>> remove_lone_attempts(WallTime before, std::size_t limit) override {
    return wire::ask(life_, "remove_lone_attempts", store_.runs().remove_lone_attempts(before, limit));
  }

  Task<Result<std::map<std::string, EventId>>> all(std::string trigger) override {
    return wire::ask(life_, "seen all", store_.seen().all(std::move(trigger)));
  }
  Task<Result<std::optional<EventId>>> get(std::string trigger, std::string key) override {
    return wire::ask(life_, "seen get", store_.seen().get(std::move(trigger), std::move(key)));
  }
  Task<Result<void>> put(std::string trigger, std::map<std::string, EventId> rows) override {
    return wire::ask(life_, "seen put", store_.seen().put(std::move(trigger), std::move(rows)));
  }
  Task<Result<void>> remove(std::string trigger, std::vector<std::string> keys) override {
    return wire::ask(life_, "seen remove", store_.seen().remove(std::move(trigger), std::move(keys)));
  }
  Task<Result<void>> fill(std::string trigger, std::map<std::string, EventId> rows) override {
    return wire::ask(life_, "seen fill", store_.seen().fill(std::move(trigger), std::move(rows)));
  }
  Task<Result<bool>> filled(std::string trigger) override {
    return wire::ask(life_, "seen filled", store_.seen().filled(std::move(trigger)));
  }
  Task<Result<void>> drop(std::string trigger) override {
    return wire::ask(life_, "seen drop", store_.seen().drop(std::move(trigger)));
  }

  std::shared_ptr<Life> life_;
  StateStore& store_;
};

class FarObjects final : public ObjectStore {
 public:
  FarObjects(std::shared_ptr<Life> life, ObjectStore& store) : life_(std::move(life)), store_(store) {}

  Task<Result<void>> ensure_bucket(std::string bucket) override { return store_.ensure_bucket(std::move(bucket)); }
  Task<Result<void>> check_buckets(FunctionBuckets buckets) override {
    return store_.check_buckets(std::move(buckets));
  }
  Task<Result<std::vector<std::string>>> buckets() override { return store_.buckets(); }
  Task<Result<ObjectInfo>> stat(std::string bucket, std::string key) override {
    return wire::ask(life_, "stat", store_.stat(std::move(bucket), std::move(key)));
  }
  Task<Result<Listing>> list(std::string bucket, std::string prefix, std::string after, std::size_t limit) override {
    return wire::ask(life_, "list", store_.list(std::move(bucket), std::move(prefix), std::move(after), limit));
  }
  Task<Result<OpenedObject>> open(ObjectRef object) override {
    return wire::ask(life_, "open", store_.open(std::move(object)));
  }
  Task<Result<std::unique_ptr<Upload>>> start_put(std::string bucket, std::string key) override {
    return store_.start_put(std::move(bucket), std::move(key));
  }
  Task<Result<void>> remove(std::string bucket, std::string key) override {
    return wire::ask(life_, "remove", store_.remove(std::move(bucket), std::move(key)));
  }

 private:
  std::shared_ptr<Life> life_;
  ObjectStore& store_;
};

class FarOutputs final : public OutputStore {
 public:
  FarOutputs(std::shared_ptr<Life> life, OutputStore& store) : life_(std::move(life)), store_(store) {}

  Task<Result<AttemptDirectory>> make_attempt(AttemptPlace place) override {
    const std::string what = "make_attempt " + place.run_id.str();
    return wire::ask(life_, what, store_.make_attempt(std::move(place)));
  }
  Task<Result<Sealed>> seal(AttemptPlace place, SealLimits limits, OutputRank rank) override {
    const std::string what = "seal " + place.run_id.str();
    return wire::ask(life_, what, store_.seal(std::move(place), limits, std::move(rank)));
  }
  Task<Result<AttemptUsage>> measure(AttemptPlace place, SealLimits limits) override {
    return wire::ask(life_, "measure", store_.measure(std::move(place), limits));
  }
  Task<Result<std::vector<Placed>>> place(std::vector<OutputFile> files, OutputRank rank) override {
    const std::string what = "place outputs of " + rank.run_id.str();
    return wire::ask(life_, what, store_.place(std::move(files), std::move(rank)));
  }
  Task<Result<void>> remove_attempt(AttemptPlace place) override {
    const std::string what = "remove_attempt " + place.run_id.str();
    return wire::ask(life_, what, store_.remove_attempt(std::move(place)));
  }
  Task<Result<std::vector<FoundAttempt>>> attempts(AttemptPlace after, std::size_t limit) override {
    return wire::ask(life_, "attempts in buckets", store_.attempts(std::move(after), limit));
  }
  Task<Result<std::optional<OutputMark>>> mark_of(ObjectRef object) override {
    return wire::ask(life_, "mark_of", store_.mark_of(std::move(object)));
  }

 private:
  std::shared_ptr<Life> life_;
  OutputStore& store_;
};

}  // namespace millrace::storm
