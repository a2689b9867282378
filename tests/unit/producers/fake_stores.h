// Stand-ins for what is remembered and published: state stores and a broker.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "broker/broker.h"
#include "state/state_store.h"
#include "tests/unit/producers/fake_objects.h"

namespace millrace::test {

class FakeFunctions final : public FunctionStore {
 public:
  std::vector<FunctionSpec> stored;

  Task<Result<void>> put(FunctionSpec) override { co_return injected(Errc::unimplemented); }
  Task<Result<void>> remove(std::string) override { co_return Result<void>(); }
  Task<Result<std::vector<FunctionSpec>>> all() override { co_return stored; }
};

class FakeSeen final : public SeenStore {
 public:
  explicit FakeSeen(EventLoop& loop) : loop_(loop) {}

  std::map<std::string, std::map<std::string, EventId>> rows;  // trigger -> key -> id
  std::optional<Errc> fails;

  Task<Result<std::map<std::string, EventId>>> all(std::string trigger) override {
    co_await yield(loop_);
    if (fails) co_return injected(*fails);
    co_return rows[trigger];
  }
  Task<Result<std::optional<EventId>>> get(std::string trigger, std::string key) override {
    co_await yield(loop_);
    if (fails) co_return injected(*fails);
    const auto row = rows[trigger].find(key);
    co_return row == rows[trigger].end() ? std::optional<EventId>() : std::optional<EventId>(row->second);
  }
  Task<Result<void>> put(std::string trigger, std::map<std::string, EventId> added) override {
    co_await yield(loop_);
    if (fails) co_return injected(*fails);
    for (const auto& [key, id] : added) rows[trigger].insert_or_assign(key, id);
    co_return Result<void>();
  }
  Task<Result<void>> remove(std::string trigger, std::vector<std::string> keys) override {
    co_await yield(loop_);
    for (const auto& key : keys) rows[trigger].erase(key);
    co_return Result<void>();
  }
  Task<Result<void>> fill(std::string, std::map<std::string, EventId>) override {
    co_return injected(Errc::unimplemented);
  }
  Task<Result<bool>> filled(std::string) override { co_return injected(Errc::unimplemented); }
  Task<Result<void>> drop(std::string) override { co_return injected(Errc::unimplemented); }

 private:
  EventLoop& loop_;
};

// Only get() is asked by producers.
class FakeRuns final : public RunStore {
 public:
  explicit FakeRuns(EventLoop& loop) : loop_(loop) {}

  std::map<RunId, RunRecord> records;
  std::optional<Errc> fails;
  std::size_t gets = 0;

  Task<Result<std::optional<RunRecord>>> get(RunId run_id) override {
    co_await yield(loop_);
    ++gets;
    if (fails) co_return injected(*fails);
    const auto record = records.find(run_id);
    co_return record == records.end() ? std::optional<RunRecord>() : std::optional<RunRecord>(record->second);
  }

  Task<Result<std::optional<RunRecord>>> begin_attempt(Attempt) override { co_return injected(Errc::unimplemented); }
  Task<Result<void>> end_attempt(Attempt) override { co_return injected(Errc::unimplemented); }
  Task<Result<bool>> abandon_attempt(Attempt) override { co_return injected(Errc::unimplemented); }
  Task<Result<std::vector<Attempt>>> attempts(RunId) override { co_return injected(Errc::unimplemented); }
  Task<Result<std::vector<Attempt>>> open_attempts(WallTime, AttemptToken, std::size_t) override {
    co_return injected(Errc::unimplemented);
  }
  Task<Result<std::vector<Attempt>>> stale_directories(std::size_t) override {
    co_return injected(Errc::unimplemented);
  }
  Task<Result<void>> forget_directory(AttemptToken) override { co_return injected(Errc::unimplemented); }
  Task<Result<std::vector<AttemptToken>>> unclaimed_directories(std::vector<AttemptToken>) override {
    co_return injected(Errc::unimplemented);
  }
  Task<Result<CommitResult>> commit(RunRecord) override { co_return injected(Errc::unimplemented); }
  Task<Result<void>> mark(RunId, RunMarks) override { co_return injected(Errc::unimplemented); }
  Task<Result<std::vector<RunRecord>>> list(RunFilter) override { co_return injected(Errc::unimplemented); }
  Task<Result<std::vector<RunRecord>>> unfinished(WallTime, RunId, std::size_t) override {
    co_return injected(Errc::unimplemented);
  }
  Task<Result<Order>> newest_order() override { co_return injected(Errc::unimplemented); }
  Task<Result<std::vector<RunRecord>>> of_event(EventId) override { co_return injected(Errc::unimplemented); }
  Task<Result<std::vector<RunRecord>>> caused_by(RunId) override { co_return injected(Errc::unimplemented); }
  Task<Result<std::optional<WallTime>>> committed_before_last(std::size_t) override {
    co_return injected(Errc::unimplemented);
  }
  Task<Result<std::vector<OldRun>>> removable(WallTime, RunId, std::size_t) override {
    co_return injected(Errc::unimplemented);
  }
  Task<Result<std::size_t>> remove(std::vector<RunId>) override { co_return injected(Errc::unimplemented); }
  Task<Result<std::size_t>> remove_lone_attempts(WallTime, std::size_t) override {
    co_return injected(Errc::unimplemented);
  }

 private:
  EventLoop& loop_;
};

// Takes everything and remembers the objects' keys.
class FakeBroker final : public Broker {
 public:
  explicit FakeBroker(EventLoop& loop) : loop_(loop) {}

  std::map<std::string, std::vector<std::string>> accepted;  // by topic
  std::optional<Errc> fails;

  Task<std::vector<Result<Receipt>>> publish(std::string topic, std::vector<Outgoing> batch) override {
    co_await yield(loop_);
    std::vector<Result<Receipt>> receipts;
    for (const auto& message : batch) {
      if (fails) {
        receipts.emplace_back(injected(*fails));
        continue;
      }
      const bool fresh = ids_.insert(message.id).second;
      if (fresh) accepted[topic].push_back(message.event.object->key);
      receipts.emplace_back(Receipt{.duplicate = !fresh});
    }
    co_return receipts;
  }

  Capabilities capabilities() const override { return {}; }
  Task<Result<void>> ensure(TopicSpec) override { co_return Result<void>(); }
  Task<Result<std::vector<std::string>>> topics() override { co_return injected(Errc::unimplemented); }
  Task<Result<std::unique_ptr<Subscription>>> subscribe(SubscribeOptions) override {
    co_return injected(Errc::unimplemented);
  }
  Task<Result<Lag>> lag(std::string, std::string) override { co_return injected(Errc::unimplemented); }
  Task<Result<std::vector<DeadLetter>>> dead_letters(std::string, std::string, std::string, std::size_t) override {
    co_return injected(Errc::unimplemented);
  }
  Task<Result<std::uint64_t>> redrive(std::string, std::string, std::vector<std::string>) override {
    co_return injected(Errc::unimplemented);
  }
  Task<Result<void>> purge(std::string, std::string) override { co_return injected(Errc::unimplemented); }
  Task<Result<TopicInfo>> describe(std::string) override { co_return injected(Errc::not_found); }
  Task<Result<void>> remove_group(std::string, std::string) override { co_return injected(Errc::unimplemented); }
  Task<Result<void>> remove_topic(std::string) override { co_return injected(Errc::unimplemented); }
  Task<Result<std::unique_ptr<Watch>>> watch(std::string, TopicWatcher&) override {
    co_return injected(Errc::unimplemented);
  }
  void on_backlog(std::move_only_function<void(const std::string& topic)>) override {}
  Task<void> close() override { co_return; }

 private:
  EventLoop& loop_;
  std::set<std::string> ids_;
};

}  // namespace millrace::test
