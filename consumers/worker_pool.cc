#include "consumers/worker_pool.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "async/sleep.h"

namespace millrace {
namespace {

constexpr std::chrono::seconds kAfterBrokerError{1};
constexpr std::chrono::milliseconds kProbeLookMin{100};

}  // namespace

WorkerPool::WorkerPool(EventLoop& loop, Broker& broker, Admission& admission, DeliveryHandler& handler, Log& log)
    : loop_(loop),
      broker_(broker),
      admission_(admission),
      handler_(handler),
      log_(log),
      receivers_(std::in_place, loop),
      handlers_(std::in_place, loop) {
  // Both keep what they are given for longer than this pool lives.
  broker_.on_backlog([this, alive = std::weak_ptr(alive_)](const std::string& topic) {
    if (alive.expired()) return;
    backlog_.insert(topic);
    share_soon();
  });
  admission_.on_room([this, alive = std::weak_ptr(alive_)] {
    if (!alive.expired()) share_soon();
  });
}

void WorkerPool::obey(Circuits& circuits) {
  circuits_ = &circuits;
  circuits.on_closed([this, alive = std::weak_ptr(alive_)] {
    if (!alive.expired()) share_soon();
  });
}

Task<Result<void>> WorkerPool::function_applied(std::shared_ptr<const FunctionSpec> now) {
  const auto wanted = work_places(*now);
  for (const auto& place : places_of(now->name)) {
    if (std::ranges::find(wanted, place) == wanted.end()) unsubscribe(members_.find(place));
  }
  for (const auto& place : wanted) {
    if (const auto known = members_.find(place); known != members_.end()) {
      known->second->function = now;  // runs from now on are of the new revision
      continue;
    }
    auto subscribed = co_await subscribe(now, place);
    if (!subscribed) co_return subscribed;
  }
  co_return Result<void>{};
}

Task<Result<void>> WorkerPool::subscribe(std::shared_ptr<const FunctionSpec> function, WorkPlace place) {
  auto subscription = co_await broker_.subscribe({.topic = place.topic, .group = place.group});
  if (!subscription) co_return fail(subscription.error());
  if (stopping_) co_return fail(Errc::unavailable, "this node is stopping and takes no more work");
  const auto member = std::make_shared<Member>(std::move(function), place.topic, std::move(*subscription));
  members_[place] = member;
  receivers_->spawn(receive(member));
  backlog_.insert(place.topic);  // what was published while nobody was subscribed
  share_soon();
  co_return Result<void>{};
}

void WorkerPool::unsubscribe(Members::iterator member) {
  member->second->stop.request_stop();
  const std::string topic = member->first.topic;
  members_.erase(member);
  if (places_at(topic).empty()) backlog_.erase(topic);
}

Task<void> WorkerPool::function_removed(std::shared_ptr<const FunctionSpec> gone) {
  const auto places = places_of(gone->name);
  for (const auto& place : places) unsubscribe(members_.find(place));
  if (!places.empty() && circuits_ != nullptr) circuits_->forget(gone->name);
  co_return;
}

std::vector<WorkPlace> WorkerPool::places_of(const std::string& function) const {
  std::vector<WorkPlace> places;
  for (const auto& [place, member] : members_) {
    if (member->function->name == function) places.push_back(place);
  }
  return places;
}

std::vector<WorkPlace> WorkerPool::places_at(const std::string& topic) const {
  std::vector<WorkPlace> places;
  for (auto next = members_.lower_bound({.topic = topic, .group = {}});
       next != members_.end() && next->first.topic == topic; ++next) {
    places.push_back(next->first);
  }
  return places;
}

Task<Result<void>> WorkerPool::drain(std::stop_token) {
  co_return Result<void>{};
}

void WorkerPool::share_soon() {
  if (stopping_ || std::exchange(share_queued_, true)) return;
  loop_.post([this, alive = std::weak_ptr(alive_)] {
    if (alive.expired()) return;
    share_queued_ = false;
    if (!stopping_) receivers_->spawn(share());
  });
}

Task<void> WorkerPool::share() {
  if (sharing_) {
    share_again_ = true;
    co_return;
  }
  sharing_ = true;
  const auto waiting = co_await look_at_backlog();
  std::vector<Demand> demands;
  for (const auto& [function, places] : waiting) demand(places, demands);
  for (const auto& [function, credit] : scheduler_.share(std::move(demands), admission_)) {
    hand_out(waiting.at(function), credit);
  }
  sharing_ = false;
  if (std::exchange(share_again_, false)) share_soon();
}

Task<std::map<std::string, std::vector<WorkerPool::Waiting>>> WorkerPool::look_at_backlog() {
  std::map<std::string, std::vector<Waiting>> waiting;
  // Taken out before asking: a message that arrives meanwhile puts its topic back in.
  const std::set<std::string> topics = std::exchange(backlog_, {});
  for (const auto& topic : topics) {
    for (auto& place : places_at(topic)) {
      const auto lag = co_await broker_.lag(place.topic, place.group);
      const auto member = members_.find(place);
      if (member == members_.end() || (lag && lag->pending == 0)) continue;
      const std::string& function = member->second->function->name;
      backlog_.insert(topic);
      if (!lag) {
        log_.warn("backlog unknown", {{"function", function}, {"topic", topic}, {"error", lag.error()}});
        share_again_later_ = loop_.start_timer(kAfterBrokerError, [this] { share_soon(); });
        continue;
      }
      waiting[function].push_back({.place = std::move(place), .pending = lag->pending});
    }
  }
  // Some of these may be gone by now.
  for (auto& [function, places] : waiting) {
    std::erase_if(places, [this](const Waiting& each) { return !members_.contains(each.place); });
  }
  std::erase_if(waiting, [](const auto& each) { return each.second.empty(); });
  co_return waiting;
}

void WorkerPool::demand(const std::vector<Waiting>& waiting, std::vector<Demand>& demands) {
  const auto function = members_.at(waiting.front().place)->function;
  std::uint64_t pending = 0;
  std::uint32_t outstanding = 0;
  for (const auto& each : waiting) {
    pending += each.pending;
    outstanding += members_.at(each.place)->subscription->credit();
  }
  const auto leave = circuits_ == nullptr ? Circuits::Leave::any : circuits_->leave(*function);
  if (leave != Circuits::Leave::any) {
    look_again_at_next_probe(*function);
    if (leave == Circuits::Leave::none) return;
    if (outstanding > 0) {  // granted before it rested, and not used: that is the probe
      circuits_->probing(*function);
      return;
    }
    pending = std::min<std::uint64_t>(pending, 1);
  }
  demands.push_back({.function = function, .pending = pending, .outstanding = outstanding});
}

// A function's topics take turns, each as far as something waits there.
void WorkerPool::hand_out(const std::vector<Waiting>& waiting, std::uint32_t credit) {
  const FunctionSpec& spec = *members_.at(waiting.front().place)->function;
  const auto leave = circuits_ == nullptr ? Circuits::Leave::any : circuits_->leave(spec);
  if (leave == Circuits::Leave::none) return;  // somebody else's probe is out
  if (leave == Circuits::Leave::one) {
    circuits_->probing(spec);
    look_again_at_next_probe(spec);
  }
  std::vector<std::uint32_t> grants(waiting.size());
  std::size_t at = ++turn_;
  for (std::size_t full = 0; credit > 0 && full < waiting.size(); ++at) {
    const std::size_t index = at % waiting.size();
    const auto out = members_.at(waiting[index].place)->subscription->credit() + grants[index];
    if (out >= waiting[index].pending) {
      ++full;
      continue;
    }
    full = 0;
    ++grants[index];
    --credit;
  }
  grants[at % waiting.size()] += credit;  // what is more than waits: as it was granted
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    if (grants[i] > 0) members_.at(waiting[i].place)->subscription->grant(grants[i]);
  }
}

// Whichever of those that rest is the first: then all are looked at.
void WorkerPool::look_again_at_next_probe(const FunctionSpec& function) {
  const auto resting = circuits_->resting(function);
  if (!resting) return;
  const auto at = loop_.now() + resting->next_try;
  if (probe_later_ && probe_at_ <= at && probe_at_ > loop_.now()) return;
  probe_at_ = at;
  // Never at once: a probe that is due and finds no room waits for that.
  probe_later_ =
      loop_.start_timer(std::max<EventLoop::Duration>(resting->next_try, kProbeLookMin), [this] { share_soon(); });
}

Task<void> WorkerPool::receive(std::shared_ptr<Member> member) {
  for (;;) {
    auto delivery = co_await member->subscription->next(member->stop.get_token());
    if (delivery) {
      handlers_->spawn(work(member, std::move(*delivery)));
      continue;
    }
    if (delivery.error().code == Errc::cancelled) co_return;
    // One message that cannot be read must not end the function: the next may be well.
    log_.error("no delivery", {{"function", member->function->name}, {"error", delivery.error()}});
    const auto rested = co_await sleep_for(loop_, kAfterBrokerError, member->stop.get_token());
    if (!rested) co_return;
  }
}

// Holds the member, also of a function that is removed meanwhile: a subscription outlives its deliveries.
Task<void> WorkerPool::work(std::shared_ptr<Member> member, std::unique_ptr<Delivery> delivery) {
  co_await handler_.handle(member->function, member->topic, std::move(delivery), shutdown_.get_token());
}

Task<void> WorkerPool::stop(EventLoop::Duration grace) {
  stopping_ = true;
  for (const auto& [place, member] : members_) member->stop.request_stop();
  const OneShot<bool> over(loop_);
  const auto end_runs = loop_.start_timer(grace, [this] { shutdown_.request_stop(); });
  const auto end_waiting = loop_.start_timer(grace + kGiveBackMax, [over] { over.set(false); });
  std::optional<TaskGroup> joining(std::in_place, loop_);
  joining->spawn(join(over));
  const bool all = co_await over.wait();
  joining.reset();
  if (!all) {
    log_.warn("deliveries are dropped: they could not be given back in time", {{"deliveries", handlers_->size()}});
    handlers_.emplace(loop_);
    receivers_.emplace(loop_);
  }
  members_.clear();
}

Task<void> WorkerPool::join(OneShot<bool> over) {
  co_await receivers_->join();  // first: a delivery that is just being read is handed to the handlers still
  co_await handlers_->join();
  over.set(true);
}

}  // namespace millrace
