// An executor whose functions are lambdas and take virtual time.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "async/sleep.h"
#include "runtime/executor.h"

namespace millrace {

[[nodiscard]] inline Execution ended(AttemptOutcome outcome, std::string message = {}, int exit_code = 0) {
  Execution execution;
  execution.outcome = outcome;
  execution.message = std::move(message);
  execution.exit_code = exit_code;
  return execution;
}

class FakeExecutor final : public Executor {
 public:
  // What the `nth` execution (from 1) of a function does; leaves outputs by other means.
  using Body = std::function<Result<Execution>(const ExecutionRequest& request, int nth)>;

  explicit FakeExecutor(EventLoop& loop) : loop_(loop) {}

  void define(const std::string& function, std::chrono::milliseconds takes, Body body) {
    functions_[function] = {.takes = takes, .body = std::move(body), .count = 0};
  }
  [[nodiscard]] int executions(const std::string& function) const { return functions_.at(function).count; }
  [[nodiscard]] int running_max() const { return running_max_; }

  std::vector<Control> controls() const override { return {}; }
  Task<Result<std::vector<std::string>>> check(std::shared_ptr<const FunctionSpec>) override {
    co_return std::vector<std::string>{};
  }
  Task<Result<Execution>> run(ExecutionRequest request, std::stop_token stop) override {
    auto& function = functions_.at(request.function->name);
    const int nth = ++function.count;
    ++running_;
    running_max_ = std::max(running_max_, running_);
    const auto slept = co_await sleep_for(loop_, function.takes, stop);
    --running_;
    if (!slept) co_return ended(AttemptOutcome::cancelled, "cancelled");
    co_return function.body(request, nth);
  }
  void forget(const FunctionUid&, std::uint64_t) override {}

 private:
  struct Function {
    std::chrono::milliseconds takes{};
    Body body;
    int count = 0;
  };

  EventLoop& loop_;
  std::map<std::string, Function> functions_;
  int running_ = 0;
  int running_max_ = 0;
};

}  // namespace millrace
