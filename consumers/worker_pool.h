// The worker pool: a subscription per function on its work topic, credit by the fair scheduler, a task per delivery.
//
//   pool.function_applied(function)     -> subscribed
//   a backlog or a free slot            -> credit for those whose turn it is
//   a delivery                          -> DeliveryHandler::handle in a task of its own
//
// Threads: the domain loop.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/task.h"
#include "async/task_group.h"
#include "broker/broker.h"
#include "consumers/delivery_handler.h"
#include "engine/admission.h"
#include "engine/circuits.h"
#include "engine/fair_scheduler.h"
#include "engine/function_observer.h"
#include "telemetry/log.h"

namespace millrace {

class WorkerPool final : public FunctionObserver {
 public:
  WorkerPool(EventLoop& loop, Broker& broker, Admission& admission, DeliveryHandler& handler, Log& log);

  // From now on no more is asked for than `circuits` allows. It outlives the pool.
  void obey(Circuits& circuits);

  Task<Result<void>> function_applied(std::shared_ptr<const FunctionSpec> now) override;
  Task<void> function_removed(std::shared_ptr<const FunctionSpec> gone) override;
  Task<Result<void>> drain() override;  // nothing outside is watched here

  // Takes no more deliveries and waits for the runs that are on, at most `grace`; ends the rest and gives them back.
  [[nodiscard]] Task<void> stop(EventLoop::Duration grace);

 private:
  struct Member {
    std::shared_ptr<const FunctionSpec> function;
    std::unique_ptr<Subscription> subscription;
    std::stop_source stop;
  };

  void share_soon();
  // Adds what may be asked for, after `lag` was looked at.
  void demand(const Member& member, std::uint64_t pending, std::vector<Demand>& demands);
  void look_again_at_next_probe(const FunctionSpec& function);
  Task<void> share();
  Task<void> receive(std::shared_ptr<Member> member);
  Task<void> work(std::shared_ptr<Member> member, std::unique_ptr<Delivery> delivery);

  EventLoop& loop_;
  Broker& broker_;
  Admission& admission_;
  DeliveryHandler& handler_;
  Log& log_;
  FairScheduler scheduler_;
  std::map<std::string, std::shared_ptr<Member>> members_;  // by topic
  std::set<std::string> backlog_;                           // topics that may have deliverable messages
  bool share_queued_ = false;
  bool sharing_ = false;
  bool share_again_ = false;
  bool stopping_ = false;
  Circuits* circuits_ = nullptr;
  std::unique_ptr<EventLoop::Handle> share_again_later_;
  EventLoop::TimePoint probe_at_{};
  std::unique_ptr<EventLoop::Handle> probe_later_;  // when a function that rests may ask for one
  std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);  // for callbacks that others keep
  std::stop_source shutdown_;                                               // of the handlers
  TaskGroup receivers_;
  TaskGroup handlers_;
};

}  // namespace millrace
