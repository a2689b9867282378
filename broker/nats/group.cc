#include "broker/nats/group.h"

#include <algorithm>
#include <numeric>
#include <ranges>
#include <utility>

#include "broker/nats/nats_delivery.h"

namespace millrace::nats {
namespace {

constexpr std::chrono::milliseconds kUnclaimedMax{100};
constexpr std::chrono::milliseconds kRestMax{5000};
constexpr std::chrono::milliseconds kPatience{20};       // with a lane whose turn it is, and with acks
constexpr std::chrono::milliseconds kPauseWhenFull{50};  // between arrivals when too many are parked
constexpr std::chrono::milliseconds kPullLife{60'000};   // the server forgets a request after so long
constexpr std::chrono::milliseconds kPullGrace{10'000};
// They end at full seconds, so that the server's word of it for thousands of idle topics wakes us once and not for
// each.
constexpr std::chrono::milliseconds kPullAlign{1000};
constexpr std::chrono::milliseconds kAgainAfterError{1000};
constexpr std::uint32_t kBatchMax = 256;  // asked for at once
// Of what is wanted now or as soon as acks are confirmed, this part at least while something is under way: each request
// costs the server a message.
constexpr std::uint32_t kShareMin = 4;
constexpr std::size_t kDelayedMax = 100'000;  // with timers of ours; for more the server's must do
constexpr std::string_view kNak = "-NAK";
constexpr std::string_view kAck = "+ACK";

}  // namespace

Group::Group(Core& core, Topic& topic, std::string name)
    : waits(core.loop),
      turns(core, topic.name, name),
      core_(core),
      topic_(topic),
      name_(std::move(name)),
      looked_(core.loop) {
  add_lane(Priority::normal);
  if (topic_.prioritized) prioritized();
}

Group::~Group() {
  for (const auto& lane : lanes_) core_.link->unlisten(stream() + "." + lane->consumer);
}

void Group::add_lane(Priority priority) {
  auto added = std::make_unique<Lane>();
  Lane& lane = *added;
  lane.priority = priority;
  lane.consumer = Names::consumer(name_, priority);
  lane.inbox = core_.link->listen(stream() + "." + lane.consumer,
                                  [this, &lane](Message message) { arrived(lane, std::move(message)); });
  lanes_.push_back(std::move(added));
}

void Group::prioritized() {
  if (lanes_.size() > 1) return;
  add_lane(Priority::high);
  add_lane(Priority::low);
  ask();
}

void Group::subscribed() {
  ++subscribers_;
  ask();
}

void Group::unsubscribed() {
  --subscribers_;
}

std::size_t Group::ready() const {
  return std::accumulate(lanes_.begin(), lanes_.end(), std::size_t{0},
                         [](std::size_t sum, const auto& lane) { return sum + lane->ready.size(); });
}

// Whether it has messages that will be here at once.
bool Group::is_expected(const Lane& lane) const {
  return lane.ready.empty() && lane.asked > 0 && lane.pending > 0 && core_.loop.now() < lane.asked_at + kPatience;
}

// Of the lanes that have messages, the one that the weights favour; null when it must be waited for.
Group::Lane* Group::choose() {
  if (lanes_.size() == 1) return lanes_[0].get();
  Lane* best = nullptr;
  std::int64_t sum = 0;
  for (const auto& lane : lanes_) {
    if (lane->ready.empty() && !is_expected(*lane)) continue;
    const std::int64_t weight = weight_of(lane->priority);
    sum += weight;
    if (best == nullptr || lane->favour + weight > best->favour + weight_of(best->priority)) best = lane.get();
  }
  if (best == nullptr || best->ready.empty()) {
    patience_ = core_.loop.start_timer(kPatience, [this] { waits.wake(1); });
    return nullptr;
  }
  for (const auto& lane : lanes_) {
    if (!lane->ready.empty() || is_expected(*lane)) lane->favour += weight_of(lane->priority);
  }
  best->favour -= sum;
  return best;
}

std::optional<Group::Arrived> Group::take() {
  if (ready() == 0) return std::nullopt;
  Lane* lane = choose();
  if (lane == nullptr) return std::nullopt;
  Arrived first = std::move(lane->ready.front());
  lane->ready.pop_front();
  resting_ = false;
  // In turns of several lanes there is always one more than is wanted, and not unclaimed as long as they go on.
  if (ready() == 0 || lanes_.size() > 1) unclaimed_.reset();
  if (ready() > 0 && !unclaimed_) {
    unclaimed_ = core_.loop.start_timer(kUnclaimedMax, [this] { give_back_unclaimed(); });
  }
  ask();
  return first;
}

void Group::ask() {
  if (std::exchange(asking_, true)) return;
  core_.loop.post([this, weak = core_.weak_from_this()] {
    if (const auto core = weak.lock()) ask_now();
  });
}

void Group::ask_now() {
  asking_ = false;
  if (removed_ || pause_ || core_.closed() || !core_.link->connected()) return;
  const std::uint32_t unasked = subscribers_ > 0 && !resting_ ? 1 : 0;
  const auto target = std::min(std::max(wanted_, unasked), kBatchMax);
  if (lanes_.size() == 1) {
    ask(*lanes_[0], target > looking_ ? target - looking_ : 0);
    return;
  }
  std::uint32_t weights = 0;
  for (const auto& lane : lanes_) {
    if (lane->pending > 0) weights += weight_of(lane->priority);
  }
  for (const auto& lane : lanes_) {
    const std::uint32_t share =
        lane->pending > 0 ? (target * weight_of(lane->priority) + weights - 1) / weights : std::min(target, 1U);
    ask(*lane, std::max(share, std::min(target, 1U)));
  }
}

void Group::ask(Lane& lane, std::uint32_t target) {
  const auto have = lane.asked + static_cast<std::uint32_t>(lane.ready.size());
  if (target <= have) return;
  const std::uint32_t batch = target - have;
  // Acks that are late are not waited for; check_pulls() looks again if nothing else does.
  const std::uint32_t settling = core_.loop.now() < lane.asked_at + kPatience ? settling_ : 0;
  if (lane.asked + settling > 0 && batch < (target + settling) / kShareMin) return;
  const auto life = std::chrono::nanoseconds(kPullLife + kPullAlign - core_.loop.now().time_since_epoch() % kPullAlign);
  const bool sent = core_.link->send(
      {.subject = "$JS.API.CONSUMER.MSG.NEXT." + stream() + "." + lane.consumer,
       .reply = lane.inbox,
       .data = "{\"batch\":" + std::to_string(batch) + ",\"expires\":" + std::to_string(life.count()) + "}"});
  if (!sent) return;
  lane.asked += batch;
  lane.asked_at = core_.loop.now();
}

void Group::forget_asked() {
  for (const auto& lane : lanes_) {
    lane->asked = 0;
    lane->pending = 0;
  }
}

void Group::check_pulls() {
  bool idle = wanted_ <= 1;  // and asked for: most of ten thousand topics are
  for (const auto& lane : lanes_) {
    if (lane->asked > 0 && core_.loop.now() - lane->asked_at > kPullLife + kPullAlign + kPullGrace) lane->asked = 0;
    idle = idle && lane->asked > 0;
  }
  turns.look_again();
  if (!idle) ask();
}

void Group::reconnected() {
  forget_asked();
  turns.call_all();
  ask();
}

void Group::told(Lane& lane, const Message& message, int status) {
  if (status == 0 || status == 100) return;  // somebody else's, or a heartbeat
  const auto left = message.header("Nats-Pending-Messages");
  const auto count =
      left && !left->empty() && left->find_first_not_of("0123456789") == std::string::npos && left->size() < 9
          ? static_cast<std::uint32_t>(std::stoul(*left))
          : lane.asked;
  lane.asked -= std::min(lane.asked, count);
  // A request that only grew old is made again; after a refusal the watch does it, so that nothing spins.
  if (status == 408) ask();
}

void Group::arrived(Lane& lane, Message message) {
  const auto position = position_of(message.reply());
  if (!position) {  // what has a place in the stream is no word of the server's, whatever its headers say
    told(lane, message, message.status());
    return;
  }
  if (lane.asked > 0) --lane.asked;
  lane.pending = position->pending;
  if (const auto held = held_.find(position->seq); held != held_.end()) {
    // A server that was restarted delivers again what is in work. It is ours already.
    held->second->renewed(std::string(message.reply()));
    ask();
    return;
  }
  if (const auto delayed = delayed_.find(position->seq); delayed != delayed_.end()) {
    // The server's delay ends after ours, unless it was restarted or its clock was moved.
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(delayed->second.due - core_.loop.now());
    if (left > std::chrono::milliseconds(0)) {
      delayed->second.ack_subject = message.reply();
      [[maybe_unused]] const bool sent =
          core_.link->send({.subject = delayed->second.ack_subject, .data = nak_text(left)});
      ask();
      return;
    }
    delayed_.erase(delayed);
  }
  if (const auto due = due_of(message); due && *due > core_.loop.wall_now()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*due - core_.loop.wall_now());
    std::string ack_subject(message.reply());
    [[maybe_unused]] const bool sent = core_.link->send({.subject = ack_subject, .data = nak_text(left)});
    wait(position->seq, std::move(ack_subject), left);
    ask();
    return;
  }
  auto mark = core_.names.mark_of(message.subject());
  Arrived arrival{.message = std::move(message), .position = *position, .mark = mark ? std::move(*mark) : Mark{}};
  if (arrival.mark.key.empty()) {
    accept(lane, std::move(arrival));
  } else {
    arrived_with_key(lane, std::move(arrival));
  }
}

void Group::arrived_with_key(Lane& lane, Arrived arrival) {
  if (const auto turn = turns.known(arrival.mark.key, arrival.position.seq)) {
    if (*turn == KeyTurns::Turn::now) turns.enter(arrival.mark.key, arrival.position.seq);
    obey(lane, std::move(arrival), *turn);
    return;
  }
  turns.enter(arrival.mark.key, arrival.position.seq);
  ++looking_;
  core_.background.spawn(look_at_turn(lane, std::move(arrival), emptied_));
}

Task<void> Group::look_at_turn(Lane& lane, Arrived arrival, std::uint32_t emptied) {
  const std::string key = arrival.mark.key;
  const std::uint64_t seq = arrival.position.seq;
  const auto turn = co_await turns.look(key, seq);
  if (core_.closed() || emptied != emptied_) co_return;
  if (--looking_ == 0) looked_.wake_all();
  if (!turn) {
    turns.leave(key, seq);
    [[maybe_unused]] const bool sent =
        core_.link->send({.subject = std::string(arrival.message.reply()), .data = nak_text(kAgainAfterError)});
    ask();
    co_return;
  }
  if (*turn != KeyTurns::Turn::now) turns.leave(key, seq);
  obey(lane, std::move(arrival), *turn);
}

void Group::obey(Lane& lane, Arrived arrival, KeyTurns::Turn turn) {
  if (turn == KeyTurns::Turn::now) {
    accept(lane, std::move(arrival));
    return;
  }
  std::string ack_subject(arrival.message.reply());
  const bool over = turn == KeyTurns::Turn::over;
  [[maybe_unused]] const bool sent =
      core_.link->send({.subject = ack_subject, .data = over ? std::string(kAck) : nak_text(KeyTurns::kParkedFor)});
  if (!over && !turns.park(arrival.mark.key, arrival.position.seq, std::move(ack_subject)) && !pause_) {
    pause_ = core_.loop.start_timer(kPauseWhenFull, [this] {
      pause_.reset();
      ask();
    });
  }
  if (!over && wanted_ == 0 && !resting_) rest();  // nothing to ring for
  ask();
}

void Group::accept(Lane& lane, Arrived arrival) {
  lane.ready.push_back(std::move(arrival));
  waits.wake(1);
  if (ready() > wanted_) {
    core_.tell_backlog(topic_.name);
    if (!unclaimed_) unclaimed_ = core_.loop.start_timer(kUnclaimedMax, [this] { give_back_unclaimed(); });
  }
}

void Group::give_back_unclaimed() {
  unclaimed_.reset();
  if (ready() <= wanted_) return;
  // Of the least important first.
  for (const auto& lane : std::ranges::reverse_view(lanes_)) {
    while (!lane->ready.empty() && ready() > wanted_) {
      send_back(lane->ready.back());
      lane->ready.pop_back();
    }
  }
  rest();
}

void Group::rest() {
  resting_ = true;
  unclaimed_ = core_.loop.start_timer(kRestMax, [this] {
    unclaimed_.reset();
    resting_ = false;
    ask();
  });
}

void Group::send_back(const Arrived& arrival) {
  if (!arrival.mark.key.empty()) turns.leave(arrival.mark.key, arrival.position.seq);
  [[maybe_unused]] const bool sent =
      core_.link->send({.subject = std::string(arrival.message.reply()), .data = std::string(kNak)});
}

void Group::release(std::uint64_t seq, const Mark& mark) {
  held_.erase(seq);
  if (!mark.key.empty()) turns.leave(mark.key, seq);
}

std::string Group::nak_text(std::chrono::milliseconds delay) {
  if (delay <= std::chrono::milliseconds(0)) return std::string(kNak);
  const auto slack = std::max<std::chrono::milliseconds>(std::chrono::milliseconds(500), delay / 10);
  return std::string(kNak) + " {\"delay\":" + std::to_string(nanoseconds(delay + slack)) + "}";
}

void Group::wait(std::uint64_t seq, std::string ack_subject, std::chrono::milliseconds delay) {
  if (delay <= std::chrono::milliseconds(0) || delayed_.size() >= kDelayedMax) return;
  Delayed& delayed = delayed_[seq];
  delayed.ack_subject = std::move(ack_subject);
  delayed.due = core_.loop.now() + delay;
  delayed.timer = core_.loop.start_timer(delay, [this, seq] {
    const auto found = delayed_.find(seq);
    if (found == delayed_.end()) return;
    const Delayed due = std::move(found->second);
    delayed_.erase(found);
    [[maybe_unused]] const bool sent = core_.link->send({.subject = due.ack_subject, .data = std::string(kNak)});
    if (subscribers_ == 0) core_.tell_backlog(topic_.name);
  });
}

void Group::lose_all() {
  std::vector<std::stop_source> told;
  for (const auto& [seq, delivery] : std::exchange(held_, {})) told.push_back(delivery->lose());
  delayed_.clear();
  for (const auto& lane : lanes_) {
    for (const auto& each : std::exchange(lane->ready, {})) send_back(each);
  }
  turns.clear();
  looking_ = 0;
  looked_.wake_all();
  unclaimed_.reset();
  patience_.reset();
  pause_.reset();
  for (auto& source : told) source.request_stop();
}

NatsDelivery* Group::find_held(std::uint64_t seq) const {
  const auto found = held_.find(seq);
  return found == held_.end() ? nullptr : found->second;
}

}  // namespace millrace::nats
