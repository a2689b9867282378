// A state store in memory whose calls fail when a test says so.
//
//   FaultyState state(loop);
//   state.fail_next(StateCall::commit, {.code = Errc::unavailable, .message = "locked"});
//   ...
//   EXPECT_EQ(state.calls(StateCall::commit), 2);
#pragma once

#include <map>
#include <memory>
#include <utility>

#include "async/event_loop.h"
#include "state/state_store.h"

namespace millrace {

enum class StateCall : std::uint8_t {
  put_function,
  remove_function,
  all_functions,
  begin_attempt,
  end_attempt,
  open_attempts,
  stale_directories,
  forget_directory,
  commit,
  mark,
  get_run,
  unfinished,
  removable,
  remove_runs,
  get_seen,
  put_seen,
};

class FaultyState final : public StateStore {
 public:
  explicit FaultyState(EventLoop& loop);
  ~FaultyState() override;

  // The next `count` calls of that kind fail and change nothing.
  void fail_next(StateCall call, Error error, int count = 1);
  [[nodiscard]] int calls(StateCall call) const;  // those that failed included

  [[nodiscard]] const std::string& id() const override { return store_->id(); }
  FunctionStore& functions() override;
  RunStore& runs() override;
  SeenStore& seen() override;
  Task<void> close() override;

  // Which calls came, and which are to fail.
  struct Faults {
    std::map<StateCall, int> calls;
    std::map<StateCall, std::pair<int, Error>> failing;
    [[nodiscard]] Result<void> enter(StateCall call);
  };

 private:
  class Functions;
  class Runs;
  class Seen;

  std::unique_ptr<StateStore> store_;
  Faults faults_;
  std::unique_ptr<Functions> functions_;
  std::unique_ptr<Runs> runs_;
  std::unique_ptr<Seen> seen_;
};

}  // namespace millrace
