// The worker pool: a subscription per function on its work topic and on each user topic that it reads, credit by the
// fair scheduler, a task per delivery.
//
//   pool.function_applied(function)     -> subscribed
//   a backlog or a free slot            -> credit for those whose turn it is
//   a delivery                          -> DeliveryHandler::handle in a task of its own
//
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/task.h"
#include "async/task_group.h"
#include "broker/broker.h"
#include "consumers/delivery_handler.h"
#include "engine/admission.h"
#include "engine/circuits.h"
#include "engine/fair_scheduler.h"
#include "engine/function_observer.h"
#include "engine/user_topics.h"
#include "telemetry/log.h"

namespace millrace {

class WorkerPool final : public FunctionObserver {
 public:
  WorkerPool(EventLoop& loop, Broker& broker, Admission& admission, DeliveryHandler& handler, Log& log);

  // From now on no more is asked for than `circuits` allows. It outlives the pool.
  void obey(Circuits& circuits);

  Task<Result<void>> function_applied(std::shared_ptr<const FunctionSpec> now) override;
  Task<void> function_removed(std::shared_ptr<const FunctionSpec> gone) override;
  Task<Result<void>> drain(std::stop_token stop) override;  // nothing outside is watched here

  // Takes no more deliveries and waits for the runs that are on, at most `grace`; ends the rest and gives them back.
  // What is not back kGiveBackMax later is dropped, and its broker counts it as such: it is away, and hands it out
  // again when its lease has run out.
  [[nodiscard]] Task<void> stop(EventLoop::Duration grace);
  static constexpr std::chrono::seconds kGiveBackMax{20};

 private:
  struct Member {
    std::shared_ptr<const FunctionSpec> function;
    std::string topic;
    std::unique_ptr<Subscription> subscription;
    std::stop_source stop;
  };
  // By topic, then by group.
  using Members = std::map<WorkPlace, std::shared_ptr<Member>>;

  void share_soon();
  [[nodiscard]] Task<Result<void>> subscribe(std::shared_ptr<const FunctionSpec> function, WorkPlace place);
  void unsubscribe(Members::iterator member);
  // Members whose function's name it is, and those of a topic.
  [[nodiscard]] std::vector<WorkPlace> places_of(const std::string& function) const;
  [[nodiscard]] std::vector<WorkPlace> places_at(const std::string& topic) const;
  // What waits for each, by function; a topic about which nothing can be learned is asked about again later.
  struct Waiting {
    WorkPlace place;
    std::uint64_t pending = 0;
  };
  [[nodiscard]] Task<std::map<std::string, std::vector<Waiting>>> look_at_backlog();
  // What may be asked for, after the lag was looked at.
  void demand(const std::vector<Waiting>& waiting, std::vector<Demand>& demands);
  void hand_out(const std::vector<Waiting>& waiting, std::uint32_t credit);
  void look_again_at_next_probe(const FunctionSpec& function);
  Task<void> share();
  Task<void> join(OneShot<bool> over);
  Task<void> receive(std::shared_ptr<Member> member);
  Task<void> work(std::shared_ptr<Member> member, std::unique_ptr<Delivery> delivery);

  EventLoop& loop_;
  Broker& broker_;
  Admission& admission_;
  DeliveryHandler& handler_;
  Log& log_;
  FairScheduler scheduler_;
  Members members_;
  std::set<std::string> backlog_;  // topics that may have deliverable messages
  std::size_t turn_ = 0;           // which of a function's topics is first
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
  std::optional<TaskGroup> receivers_;                                      // always there
  std::optional<TaskGroup> handlers_;                                       // likewise
};

}  // namespace millrace
