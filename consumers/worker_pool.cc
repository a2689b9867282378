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
      receivers_(loop),
      handlers_(loop) {
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
  const std::string topic = work_topic(now->name);
  if (const auto known = members_.find(topic); known != members_.end()) {
    known->second->function = std::move(now);  // runs from now on are of the new revision
    co_return Result<void>{};
  }
  auto subscription = co_await broker_.subscribe({.topic = topic, .group = std::string(kWorkersGroup)});
  if (!subscription) co_return fail(subscription.error());
  if (stopping_) co_return fail(Errc::unavailable, "this node is stopping and takes no more work");
  const auto member = std::make_shared<Member>(std::move(now), std::move(*subscription));
  members_[topic] = member;
  receivers_.spawn(receive(member));
  backlog_.insert(topic);  // what was published while nobody was subscribed
  share_soon();
  co_return Result<void>{};
}

Task<void> WorkerPool::function_removed(std::shared_ptr<const FunctionSpec> gone) {
  const std::string topic = work_topic(gone->name);
  const auto known = members_.find(topic);
  if (known == members_.end()) co_return;
  known->second->stop.request_stop();
  members_.erase(known);
  backlog_.erase(topic);
  if (circuits_ != nullptr) circuits_->forget(gone->name);
}

Task<Result<void>> WorkerPool::drain() {
  co_return Result<void>{};
}

void WorkerPool::share_soon() {
  if (stopping_ || std::exchange(share_queued_, true)) return;
  loop_.post([this, alive = std::weak_ptr(alive_)] {
    if (alive.expired()) return;
    share_queued_ = false;
    if (!stopping_) receivers_.spawn(share());
  });
}

Task<void> WorkerPool::share() {
  if (sharing_) {
    share_again_ = true;
    co_return;
  }
  sharing_ = true;
  std::vector<Demand> demands;
  // Taken out before asking: a message that arrives meanwhile puts its topic back in.
  const std::set<std::string> topics = std::exchange(backlog_, {});
  for (const auto& topic : topics) {
    const auto lag = co_await broker_.lag(topic, std::string(kWorkersGroup));
    const auto member = members_.find(topic);
    if (member == members_.end() || (lag && lag->pending == 0)) continue;
    backlog_.insert(topic);
    if (!lag) {
      log_.warn("backlog unknown", {{"function", member->second->function->name}, {"error", lag.error()}});
      share_again_later_ = loop_.start_timer(kAfterBrokerError, [this] { share_soon(); });
      continue;
    }
    demand(*member->second, lag->pending, demands);
  }
  for (const auto& [function, credit] : scheduler_.share(std::move(demands), admission_)) {
    const auto member = members_.find(work_topic(function));
    if (member == members_.end()) continue;
    const FunctionSpec& spec = *member->second->function;
    const auto leave = circuits_ == nullptr ? Circuits::Leave::any : circuits_->leave(spec);
    if (leave == Circuits::Leave::none) continue;  // somebody else's probe is out
    if (leave == Circuits::Leave::one) {
      circuits_->probing(spec);
      look_again_at_next_probe(spec);
    }
    member->second->subscription->grant(credit);
  }
  sharing_ = false;
  if (std::exchange(share_again_, false)) share_soon();
}

void WorkerPool::demand(const Member& member, std::uint64_t pending, std::vector<Demand>& demands) {
  const std::uint32_t outstanding = member.subscription->credit();
  const auto leave = circuits_ == nullptr ? Circuits::Leave::any : circuits_->leave(*member.function);
  if (leave != Circuits::Leave::any) {
    look_again_at_next_probe(*member.function);
    if (leave == Circuits::Leave::none) return;
    if (outstanding > 0) {  // granted before it rested, and not used: that is the probe
      circuits_->probing(*member.function);
      return;
    }
    pending = std::min<std::uint64_t>(pending, 1);
  }
  demands.push_back({.function = member.function, .pending = pending, .outstanding = outstanding});
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
      handlers_.spawn(work(member, std::move(*delivery)));
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
  co_await handler_.handle(member->function, std::move(delivery), shutdown_.get_token());
}

Task<void> WorkerPool::stop(EventLoop::Duration grace) {
  stopping_ = true;
  for (const auto& [topic, member] : members_) member->stop.request_stop();
  const auto timer = loop_.start_timer(grace, [this] { shutdown_.request_stop(); });
  co_await receivers_.join();  // first: a delivery that is just being read is handed to the handlers still
  co_await handlers_.join();
  members_.clear();
}

}  // namespace millrace
