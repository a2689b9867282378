#include "tests/sim/storm/broken_state.h"

#include <map>
#include <optional>
#include <utility>

#include "tests/support/forwarding_run_store.h"

namespace millrace::storm {
namespace {

constexpr std::uint64_t kOneIn = 10;

class BrokenRuns final : public ForwardingRunStore {
 public:
  BrokenRuns(RunStore& real, Breakage breakage) : ForwardingRunStore(real), breakage_(breakage) {}

  Task<Result<std::optional<RunRecord>>> begin_attempt(Attempt attempt) override {
    if (breakage_ == Breakage::attempts_are_forgotten && strikes()) co_return std::nullopt;
    auto begun = co_await store_.begin_attempt(std::move(attempt));
    co_return begun;
  }
  Task<Result<CommitResult>> commit(RunRecord record) override {
    if (breakage_ == Breakage::commits_get_lost && strikes()) {
      co_return CommitResult{.won = true, .standing = std::move(record)};
    }
    auto committed = co_await store_.commit(record);
    if (breakage_ == Breakage::commit_replaces && committed && !committed->won) {
      later_[record.run_id] = record;
      co_return CommitResult{.won = true, .standing = std::move(record)};
    }
    co_return committed;
  }
  Task<Result<std::optional<RunRecord>>> get(RunId run_id) override {
    auto found = co_await store_.get(std::move(run_id));
    if (found && *found) *found = latest(std::move(**found));
    co_return found;
  }
  Task<Result<std::vector<RunRecord>>> list(RunFilter filter) override {
    auto found = co_await store_.list(std::move(filter));
    if (!found) co_return found;
    for (auto& record : *found) record = latest(std::move(record));
    co_return found;
  }

 private:
  bool strikes() { return ++calls_ % kOneIn == 0; }
  RunRecord latest(RunRecord first) const {
    const auto later = later_.find(first.run_id);
    if (later == later_.end()) return first;
    RunRecord record = later->second;
    record.placed = first.placed;
    record.published = first.published;
    return record;
  }

  Breakage breakage_;
  std::uint64_t calls_ = 0;
  std::map<RunId, RunRecord> later_;
};

class BrokenState final : public StateStore {
 public:
  BrokenState(StateStore& real, Breakage breakage) : real_(real), runs_(real.runs(), breakage) {}

  [[nodiscard]] const std::string& id() const override { return real_.id(); }
  FunctionStore& functions() override { return real_.functions(); }
  RunStore& runs() override { return runs_; }
  SeenStore& seen() override { return real_.seen(); }
  Task<void> close() override { return real_.close(); }

 private:
  StateStore& real_;
  BrokenRuns runs_;
};

}  // namespace

const char* name_of(Breakage breakage) {
  switch (breakage) {
    case Breakage::commit_replaces: return "CommitReplaces";
    case Breakage::commits_get_lost: return "CommitsGetLost";
    case Breakage::attempts_are_forgotten: return "AttemptsAreForgotten";
  }
  return "?";
}

std::function<std::unique_ptr<StateStore>(StateStore& real)> breaker(Breakage breakage) {
  return [breakage](StateStore& real) { return std::make_unique<BrokenState>(real, breakage); };
}

}  // namespace millrace::storm
