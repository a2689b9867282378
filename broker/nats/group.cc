#include "broker/nats/group.h"

#include <algorithm>
#include <utility>

#include "broker/nats/nats_delivery.h"

namespace millrace::nats {
namespace {

constexpr std::chrono::milliseconds kUnclaimedMax{100};
constexpr std::chrono::milliseconds kRestMax{5000};
constexpr std::chrono::milliseconds kPullLife{60'000};  // the server forgets a request after so long
constexpr std::chrono::milliseconds kPullGrace{10'000};
constexpr std::uint32_t kBatchMax = 256;      // asked for at once
constexpr std::size_t kDelayedMax = 100'000;  // with timers of ours; for more the server's must do
constexpr std::string_view kNak = "-NAK";

}  // namespace

Group::Group(Core& core, Topic& topic, std::string name)
    : waits(core.loop),
      core_(core),
      topic_(topic),
      name_(std::move(name)),
      inbox_(core.link->listen(stream() + "." + Names::consumer(name_),
                               [this](Message message) { arrived(std::move(message)); })) {}

Group::~Group() {
  core_.link->unlisten(stream() + "." + Names::consumer(name_));
}

void Group::subscribed() {
  ++subscribers_;
  ask();
}

void Group::unsubscribed() {
  --subscribers_;
}

std::optional<Group::Arrived> Group::take() {
  if (ready_.empty()) return std::nullopt;
  Arrived first = std::move(ready_.front());
  ready_.pop_front();
  resting_ = false;
  if (ready_.empty()) unclaimed_.reset();
  ask();
  return first;
}

void Group::ask() {
  if (core_.closed() || !core_.link->connected()) return;
  const std::uint32_t unasked = subscribers_ > 0 && !resting_ ? 1 : 0;
  const auto target = std::min(std::max(wanted_, unasked), kBatchMax);
  const auto have = asked_ + static_cast<std::uint32_t>(ready_.size());
  if (target <= have) return;
  const std::uint32_t batch = target - have;
  const bool sent =
      core_.link->send({.subject = "$JS.API.CONSUMER.MSG.NEXT." + stream() + "." + Names::consumer(name_),
                        .reply = inbox_,
                        .data = Json::object({{"batch", batch}, {"expires", nanoseconds(kPullLife)}}).dump()});
  if (!sent) return;
  asked_ += batch;
  asked_at_ = core_.loop.now();
}

void Group::check_pulls() {
  if (asked_ > 0 && core_.loop.now() - asked_at_ > kPullLife + kPullGrace) asked_ = 0;
  ask();
}

void Group::reconnected() {
  asked_ = 0;
  ask();
}

void Group::told(const Message& message, int status) {
  if (status == 100) return;  // a heartbeat
  const auto left = message.header("Nats-Pending-Messages");
  const auto count = left && left->find_first_not_of("0123456789") == std::string::npos && left->size() < 9
                         ? static_cast<std::uint32_t>(std::stoul(*left))
                         : asked_;
  asked_ -= std::min(asked_, count);
  // A request that only grew old is made again; after a refusal the watch does it, so that nothing spins.
  if (status == 408) ask();
}

void Group::arrived(Message message) {
  if (const int status = message.status(); status != 0) {
    told(message, status);
    return;
  }
  if (asked_ > 0) --asked_;
  const auto position = position_of(message.reply());
  if (!position) return;
  if (const auto held = held_.find(position->seq); held != held_.end()) {
    // A server that was restarted delivers again what is in work. It is ours already.
    held->second->renewed(std::string(message.reply()));
    ask();
    return;
  }
  delayed_.erase(position->seq);
  if (const auto due = due_of(message); due && *due > core_.loop.wall_now()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*due - core_.loop.wall_now());
    std::string ack_subject(message.reply());
    [[maybe_unused]] const bool sent = core_.link->send({.subject = ack_subject, .data = nak_text(left)});
    wait(position->seq, std::move(ack_subject), left);
    ask();
    return;
  }
  ready_.push_back({.message = std::move(message), .position = *position});
  waits.wake(1);
  if (ready_.size() > wanted_) {
    core_.tell_backlog(topic_.name);
    if (!unclaimed_) unclaimed_ = core_.loop.start_timer(kUnclaimedMax, [this] { give_back_unclaimed(); });
  }
}

void Group::give_back_unclaimed() {
  unclaimed_.reset();
  if (ready_.size() <= wanted_) return;
  resting_ = true;
  while (ready_.size() > wanted_) {
    send_back(ready_.back().message);
    ready_.pop_back();
  }
  unclaimed_ = core_.loop.start_timer(kRestMax, [this] {
    unclaimed_.reset();
    resting_ = false;
    ask();
  });
}

void Group::send_back(const Message& message) {
  [[maybe_unused]] const bool sent =
      core_.link->send({.subject = std::string(message.reply()), .data = std::string(kNak)});
}

std::string Group::nak_text(std::chrono::milliseconds delay) {
  if (delay <= std::chrono::milliseconds(0)) return std::string(kNak);
  const auto slack = std::max<std::chrono::milliseconds>(std::chrono::milliseconds(500), delay / 10);
  return std::string(kNak) + " " + Json::object({{"delay", nanoseconds(delay + slack)}}).dump();
}

void Group::wait(std::uint64_t seq, std::string ack_subject, std::chrono::milliseconds delay) {
  if (delay <= std::chrono::milliseconds(0) || delayed_.size() >= kDelayedMax) return;
  Delayed& delayed = delayed_[seq];
  delayed.ack_subject = std::move(ack_subject);
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
  for (const auto& each : std::exchange(ready_, {})) send_back(each.message);
  unclaimed_.reset();
  for (auto& source : told) source.request_stop();
}

NatsDelivery* Group::find_held(std::uint64_t seq) const {
  const auto found = held_.find(seq);
  return found == held_.end() ? nullptr : found->second;
}

Task<Result<Lag>> Group::lag() {
  auto info = co_await core_.jetstream.call("CONSUMER.INFO." + stream() + "." + Names::consumer(name_));
  if (!info) co_return fail(info.error());
  Lag lag;
  const std::uint64_t open_there = info->uint_or("num_ack_pending", 0);
  const std::uint64_t ours = ready_.size() + held_.size() + delayed_.size();
  lag.in_flight = held_.size();
  lag.delayed = delayed_.size();
  lag.pending = info->uint_or("num_pending", 0) + ready_.size() + (open_there > ours ? open_there - ours : 0);
  if (lag.pending == 0 && resting_) {
    resting_ = false;
    ask();
  }
  auto dead = co_await this->dead();
  if (!dead) co_return fail(dead.error());
  lag.dead = *dead;
  if (lag.open() == 0) co_return lag;
  const Json* floor = info->find("ack_floor");
  auto age = co_await oldest((floor == nullptr ? 0 : floor->uint_or("stream_seq", 0)) + 1);
  if (!age) co_return fail(age.error());
  lag.oldest = *age;
  lag.overdue = lag.oldest > topic_.overdue_after;
  co_return lag;
}

// Everything below the group's floor is settled. What lies above may be, too, while another group still wants it: the
// age is never too small.
Task<Result<std::chrono::milliseconds>> Group::oldest(std::uint64_t from) {
  if (from != oldest_from_ || oldest_ == WallTime()) {
    auto kept = co_await core_.jetstream.next_message(stream(), from, ">");
    if (!kept && kept.error().code == Errc::not_found) co_return std::chrono::milliseconds(0);
    if (!kept) co_return fail(kept.error());
    oldest_from_ = from;
    oldest_ = published_of(kept->headers).value_or(core_.loop.wall_now());
  }
  const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(core_.loop.wall_now() - oldest_);
  co_return std::max(age, std::chrono::milliseconds(0));
}

// A consumer cannot be emptied, so it is made anew behind all that is there. Meanwhile the keeper holds what comes.
Task<Result<void>> Group::purge() {
  const std::string consumer = stream() + "." + Names::consumer(name_);
  auto info = co_await core_.jetstream.call("STREAM.INFO." + stream());
  if (!info) co_return fail(info.error());
  const Json* state = info->find("state");
  const std::uint64_t last = state == nullptr ? 0 : state->uint_or("last_seq", 0);
  auto kept = co_await core_.make_consumer(topic_, std::string(kKeeper), last + 1);
  if (!kept) co_return kept;
  auto gone = co_await core_.jetstream.call("CONSUMER.DELETE." + consumer);
  if (!gone && gone.error().code != Errc::not_found) co_return fail(gone.error());
  auto made = co_await core_.make_consumer(topic_, name_, last + 1);
  if (!made) co_return made;
  auto released = co_await core_.jetstream.call("CONSUMER.DELETE." + stream() + "." + std::string(kKeeper));
  if (!released && released.error().code != Errc::not_found) co_return fail(released.error());
  auto dead = co_await core_.jetstream.call("STREAM.PURGE." + core_.names.dead_stream(),
                                            Json::object({{"filter", core_.names.dead(topic_.name, name_)}}));
  if (!dead) co_return fail(dead.error());
  auto begun = co_await core_.jetstream.call("STREAM.PURGE." + core_.names.begun_stream(),
                                             Json::object({{"filter", core_.names.begun_of(topic_.name, name_)}}));
  if (!begun) co_return fail(begun.error());
  asked_ = 0;
  resting_ = false;
  ready_.clear();  // of the consumer that is gone
  lose_all();
  ask();
  co_return Result<void>{};
}

Task<Result<std::uint64_t>> Group::dead() {
  const std::string subject = core_.names.dead(topic_.name, name_);
  auto info = co_await core_.jetstream.call("STREAM.INFO." + core_.names.dead_stream(),
                                            Json::object({{"subjects_filter", subject}}));
  if (!info) co_return fail(info.error());
  const Json* state = info->find("state");
  const Json* subjects = state == nullptr ? nullptr : state->find("subjects");
  co_return subjects == nullptr ? 0 : subjects->uint_or(subject, 0);
}

}  // namespace millrace::nats
