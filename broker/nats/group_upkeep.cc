// What a group asks the server about itself, and how it is emptied and removed.
#include <algorithm>
#include <utility>

#include "broker/nats/group.h"

namespace millrace::nats {

Task<Result<Lag>> Group::lag() {
  Lag lag;
  std::uint64_t open_there = 0;
  std::uint64_t floor = ~std::uint64_t{0};
  for (std::size_t i = 0; i < lanes_.size();) {  // the topic may be removed meanwhile
    auto info = co_await core_.jetstream.call("CONSUMER.INFO." + stream() + "." + lanes_[i++]->consumer);
    if (!info) co_return fail(info.error());
    open_there += info->uint_or("num_ack_pending", 0);
    lag.pending += info->uint_or("num_pending", 0);
    const Json* lane_floor = info->find("ack_floor");
    floor = std::min(floor, lane_floor == nullptr ? 0 : lane_floor->uint_or("stream_seq", 0));
  }
  while (looking_ > 0) co_await looked_.wait();  // they are pending or blocked
  lag.in_flight = held_.size();
  lag.delayed = delayed_.size();
  lag.blocked = turns.blocked();
  const std::uint64_t ours = ready() + held_.size() + delayed_.size() + lag.blocked;
  lag.pending += ready() + (open_there > ours ? open_there - ours : 0);
  if (lag.pending == 0 && resting_) {
    resting_ = false;
    ask();
  }
  auto dead = co_await this->dead();
  if (!dead) co_return fail(dead.error());
  lag.dead = *dead;
  if (lag.open() == 0) co_return lag;
  auto age = co_await oldest(floor + 1);
  if (!age) co_return fail(age.error());
  lag.oldest = *age;
  lag.overdue = lag.oldest > topic_.overdue_after;
  co_return lag;
}

// Everything below the group's floor is settled. What lies above may be, too, while another group still wants it: the
// age is never too small.
Task<Result<std::chrono::milliseconds>> Group::oldest(std::uint64_t from) {
  // Of several lanes the floor may stand still.
  if (from != oldest_from_ || oldest_ == WallTime() || lanes_.size() > 1) {
    auto kept = co_await core_.jetstream.next_message(stream(), from, ">");
    if (!kept && kept.error().code == Errc::not_found) co_return std::chrono::milliseconds(0);
    if (!kept) co_return fail(kept.error());
    oldest_from_ = from;
    oldest_ = published_of(kept->headers).value_or(core_.loop.wall_now());
  }
  const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(core_.loop.wall_now() - oldest_);
  co_return std::max(age, std::chrono::milliseconds(0));
}

Task<Result<void>> Group::clear_out(bool make_again) {
  auto info = co_await core_.jetstream.call("STREAM.INFO." + stream());
  if (!info) co_return fail(info.error());
  const Json* state = info->find("state");
  const std::uint64_t last = state == nullptr ? 0 : state->uint_or("last_seq", 0);
  auto kept = co_await core_.make_consumer(topic_, std::string(kKeeper), Priority::normal, last + 1);
  if (!kept) co_return kept;
  for (std::size_t i = 0; i < lanes_.size(); ++i) {
    auto gone = co_await core_.jetstream.call("CONSUMER.DELETE." + stream() + "." + lanes_[i]->consumer);
    if (!gone && gone.error().code != Errc::not_found) co_return fail(gone.error());
    if (!make_again) continue;
    if (i >= lanes_.size()) break;
    auto made = co_await core_.make_consumer(topic_, name_, lanes_[i]->priority, last + 1);
    if (!made) co_return made;
  }
  auto others = co_await core_.groups_of(topic_);
  if (!others) co_return fail(others.error());
  if (!others->empty()) {
    auto released = co_await core_.jetstream.call("CONSUMER.DELETE." + stream() + "." + std::string(kKeeper));
    if (!released && released.error().code != Errc::not_found) co_return fail(released.error());
  }
  auto purged = co_await core_.jetstream.call("STREAM.PURGE." + core_.names.dead_stream(),
                                              Json::object({{"filter", core_.names.dead(topic_.name, name_)}}));
  if (!purged) co_return fail(purged.error());
  for (const std::string& filter :
       {core_.names.begun_of(topic_.name, name_), core_.names.turns_of(topic_.name, name_)}) {
    purged =
        co_await core_.jetstream.call("STREAM.PURGE." + core_.names.begun_stream(), Json::object({{"filter", filter}}));
    if (!purged) co_return fail(purged.error());
  }
  emptied(make_again ? last : 0);
  co_return Result<void>{};
}

// The consumers are gone, or stand behind all that there was.
void Group::emptied(std::uint64_t floor) {
  ++emptied_;
  forget_asked();
  resting_ = false;
  for (const auto& lane : lanes_) lane->ready.clear();
  turns.set_floor(floor);
  lose_all();
}

// A consumer cannot be emptied, so it is made anew behind all that is there. Meanwhile the keeper holds what comes.
Task<Result<void>> Group::purge() {
  auto done = co_await clear_out(true);
  if (done) ask();
  co_return done;
}

Task<Result<void>> Group::remove() {
  auto done = co_await clear_out(false);
  if (!done) co_return done;
  ended();
  co_return done;
}

void Group::ended() {
  removed_ = true;
  ++life_;
  waits.wake_all();
}

void Group::topic_removed(bool here) {
  // One that is made again may have no priorities.
  for (std::size_t i = 1; i < lanes_.size(); ++i) core_.link->unlisten(stream() + "." + lanes_[i]->consumer);
  lanes_.resize(1);
  if (here || subscribers_ == 0) ended();
  emptied(0);
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
