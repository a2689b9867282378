// One delivery after the other to function "f", over stand-ins, with the verdict to look at.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "consumers/delivery_handler.h"
#include "tests/support/engine_rig.h"

namespace millrace {

using Verdicts = std::vector<std::string>;

inline const Error kAway{.code = Errc::unavailable, .message = "away"};

class HandlerRig : public testing::TestWithParam<std::uint64_t> {
 protected:
  HandlerRig() {
    spec_ = EngineParts::function("f", "in", "out");
    spec_.retries = 1;
    spec_.retry_base = std::chrono::seconds(1);
    spec_.retry_cap = std::chrono::seconds(8);
    report_->published_at = rig_.loop.wall_now();
    event_.object = rig_.parts.storage.put("in", "a");
    event_.id = object_event_id(*event_.object);
    event_.order = Order(rig_.parts.ulids.make(rig_.loop.wall_now()));
    define(std::chrono::milliseconds(10), [this](const ExecutionRequest& request, int) { return leave(request); });
  }

  void define(std::chrono::milliseconds takes, FakeExecutor::Body body) {
    rig_.parts.executor.define("f", takes, std::move(body));
  }
  Result<Execution> leave(const ExecutionRequest& request) {
    rig_.parts.storage.leave(request.output_path, "x");
    return ended(AttemptOutcome::succeeded);
  }

  // Starts the handler on the delivery.
  void handle() {
    if (!function_) function_ = rig_.apply(spec_);
    rig_.group.spawn(handler_.handle(function_, topic_.empty() ? work_topic(function_->name) : topic_,
                                     std::make_unique<FakeDelivery>(rig_.loop, event_, report_),
                                     shutdown_.get_token()));
    rig_.loop.run_for(std::chrono::seconds(0));
  }
  // Handles the delivery to its verdict.
  void settle() {
    handle();
    rig_.loop.run_for(std::chrono::seconds(60));
    ASSERT_EQ(report_->verdicts.size(), 1U) << "settled exactly once";
    EXPECT_FALSE(report_->dropped);
    EXPECT_EQ(rig_.parts.runs.active_count(), 0U);
    EXPECT_EQ(rig_.parts.admission.free().cpu_millicores, 4000U);
  }
  // The same message again, as the broker would hand it out.
  void next_delivery() {
    auto next = std::make_shared<DeliveryReport>();
    next->counters = report_->counters;
    next->redrives = report_->redrives;
    next->published_at = report_->published_at;
    report_ = next;
  }
  RunId run_id(std::uint32_t generation = 0) {
    if (!function_) function_ = rig_.apply(spec_);
    return make_run_id(function_->uid, event_.id, generation);
  }
  std::optional<RunRecord> row(std::uint32_t generation = 0) { return rig_.row(run_id(generation)); }
  int executions() { return rig_.parts.executor.executions("f"); }

  EngineRig rig_{GetParam()};
  FunctionSpec spec_;
  std::shared_ptr<const FunctionSpec> function_;
  Event event_;
  std::string topic_;  // empty: the function's work topic
  std::shared_ptr<DeliveryReport> report_ = std::make_shared<DeliveryReport>();
  std::stop_source shutdown_;
  std::optional<Result<CommitResult>> committed_;
  DeliveryHandler handler_{rig_.loop,
                           rig_.parts.admission,
                           rig_.parts.invoker,
                           rig_.parts.finish,
                           rig_.parts.state,
                           rig_.parts.runs,
                           {.hold = std::chrono::seconds(5)},
                           rig_.parts.log};
};

}  // namespace millrace
