#include "broker/group_state.h"

#include <algorithm>

#include "broker/topic_state.h"

namespace millrace {

GroupState::GroupState(TopicState& topic, std::string name, std::size_t index)
    : topic_(topic), name_(std::move(name)), index_(index) {}

std::uint32_t GroupState::topic_id() const {
  return topic_.id();
}

Entry* GroupState::find(std::uint64_t seq) {
  const auto found = entries_.find(seq);
  return found == entries_.end() ? nullptr : &found->second;
}

DeadEntry* GroupState::find_dead(std::uint64_t seq) {
  const auto died = died_.find(seq);
  return died == died_.end() ? nullptr : &dead_.find({died->second, seq})->second;
}

bool GroupState::is_blocked(std::uint64_t seq) const {
  const Mark* mark = topic_.mark(seq);
  const auto found = mark == nullptr || mark->key == 0 ? keys_.end() : keys_.find(mark->key);
  return found != keys_.end() && found->second.first != seq;
}

Entry* GroupState::take(TimePoint lease_until, void* holder) {
  Entry* entry = nullptr;
  while (entry == nullptr && has_ready()) {
    Lane& lane = lanes_[choose_lane()];
    entry = lane.fresh_turn ? take_fresh(lane) : take_ready(lane);
    if (entry == nullptr) entry = lane.fresh_turn ? take_ready(lane) : take_fresh(lane);
    lane.fresh_turn = !lane.fresh_turn;
  }
  if (entry == nullptr) return nullptr;
  entry->state = Entry::State::held;
  entry->holder = holder;
  entry->until = lease_until;
  link_lease(*entry);
  ++held_;
  return entry;
}

std::uint64_t GroupState::ready_count() const {
  return ready_in(0) + ready_in(1) + ready_in(2);
}

std::uint64_t GroupState::ready_in(std::size_t priority) const {
  static_assert(kPriorities == 3);
  const std::uint64_t unmarked = priority == static_cast<std::size_t>(Priority::normal) ? fresh_ : 0;
  return lanes_[priority].ready.size() + lanes_[priority].fresh.size() + unmarked;
}

// Smooth weighted round robin: whoever waits earns its weight each time, and pays for all when it is chosen.
std::size_t GroupState::choose_lane() {
  std::size_t best = kPriorities;
  std::int32_t total = 0;
  for (std::size_t each = 0; each < kPriorities; ++each) {
    Lane& lane = lanes_[each];
    if (ready_in(each) == 0) {
      lane.share = 0;
      continue;
    }
    const auto weight = static_cast<std::int32_t>(weight_of(static_cast<Priority>(each)));
    lane.share += weight;
    total += weight;
    if (best == kPriorities || lane.share >= lanes_[best].share) best = each;
  }
  lanes_[best].share -= total;
  return best;
}

Entry* GroupState::take_ready(Lane& lane) {
  if (lane.ready.empty()) return nullptr;
  Entry* entry = find(lane.ready.front());
  lane.ready.pop_front();
  return entry;
}

Entry* GroupState::take_fresh(Lane& lane) {
  const bool normal = &lane == &lanes_[static_cast<std::size_t>(Priority::normal)];
  const auto unmarked = normal ? first_fresh() : std::nullopt;
  if (!lane.fresh.empty() && (!unmarked || lane.fresh.front() < *unmarked)) {
    const std::uint64_t seq = lane.fresh.front();
    lane.fresh.pop_front();
    return &add_entry(seq);
  }
  if (!unmarked) return nullptr;
  cursor_ = *unmarked + 1;
  --fresh_;
  return &add_entry(*unmarked);
}

// Of those without a mark.
std::optional<std::uint64_t> GroupState::first_fresh() {
  if (fresh_ == 0) return std::nullopt;
  for (auto seq = topic_.next(cursor_); seq && *seq < topic_.visible_; seq = topic_.next(*seq + 1)) {
    cursor_ = *seq;
    const bool open = (topic_.find(*seq)->open & bit()) != 0;
    if (open && topic_.mark(*seq) == nullptr && !entries_.contains(*seq) && !died_.contains(*seq)) return seq;
  }
  fresh_ = 0;
  return std::nullopt;
}

// Those behind the oldest are looked at once: only a redrive brings one back to the front.
std::optional<std::uint64_t> GroupState::oldest() {
  for (auto seq = topic_.next(oldest_); seq && *seq < topic_.visible_; seq = topic_.next(*seq + 1)) {
    oldest_ = *seq;
    if ((topic_.find(*seq)->open & bit()) != 0 && !died_.contains(*seq)) return seq;
  }
  return std::nullopt;
}

void GroupState::add_fresh(std::uint64_t seq, std::optional<TimePoint> due) {
  if (take_key(seq)) start(seq, due);
}

void GroupState::add_recovered(std::uint64_t seq, std::optional<TimePoint> due) {
  if (died_.contains(seq)) return;
  Entry* entry = find(seq);
  if (entry == nullptr) return add_fresh(seq, due);
  if (take_key(seq)) {
    if (entry->state == Entry::State::restored) put_back(*entry, false);
    return;
  }
  const auto retry = entry->due();
  leave_state(*entry);
  entry->state = Entry::State::waiting;
  entry->until = retry.value_or(TimePoint());
}

// Fresh, and nothing of its key is before it.
void GroupState::start(std::uint64_t seq, std::optional<TimePoint> due) {
  if (due) {
    delay(add_entry(seq), *due);
  } else if (topic_.mark(seq) != nullptr) {
    lane_of(seq).fresh.push_back(seq);
  } else {
    if (fresh_ == 0) cursor_ = std::max(cursor_, seq);
    ++fresh_;
  }
}

// True when the message may go: it has no key, or none of its key is before it. Otherwise it stands behind that now.
bool GroupState::take_key(std::uint64_t seq) {
  const Mark* mark = topic_.mark(seq);
  if (mark == nullptr || mark->key == 0) return true;
  const auto [found, free] = keys_.try_emplace(mark->key, KeyQueue{.first = seq});
  if (free) return true;
  auto& waiting = found->second.waiting;
  if (!waiting) waiting = std::make_unique<RingQueue<std::uint64_t>>();
  waiting->push_back(seq);
  ++waiting_;
  return false;
}

// The message is done. True when that lets the next of its key go.
bool GroupState::leave_key(std::uint64_t seq) {
  const Mark* mark = topic_.mark(seq);
  if (mark == nullptr || mark->key == 0) return false;
  const auto found = keys_.find(mark->key);
  if (found == keys_.end()) return false;
  KeyQueue& queue = found->second;
  if (queue.first != seq) {
    if (!queue.waiting) return false;
    const std::size_t before = queue.waiting->size();
    queue.waiting->erase(seq);
    waiting_ -= before - queue.waiting->size();
    return false;
  }
  if (!queue.waiting || queue.waiting->empty()) {
    keys_.erase(found);
    constexpr std::size_t kKeptBuckets = 1024;
    if (keys_.empty() && keys_.bucket_count() > kKeptBuckets) keys_.rehash(0);  // a flood's memory goes with the flood
    return false;
  }
  const std::uint64_t next = queue.waiting->front();
  queue.waiting->pop_front();
  --waiting_;
  queue.first = next;
  if (Entry* entry = find(next)) {
    const auto retry = entry->due();
    if (retry) {
      delay(*entry, *retry);
    } else {
      put_back(*entry, false);
    }
    return true;
  }
  const auto due = topic_.due_.find(next);
  start(next, due == topic_.due_.end() ? std::nullopt : std::optional(due->second));
  return true;
}

GroupState::Lane& GroupState::lane_of(std::uint64_t seq) {
  const Mark* mark = topic_.mark(seq);
  return lanes_[static_cast<std::size_t>(mark == nullptr ? Priority::normal : mark->priority)];
}

// In the state `restored` it is in no queue yet; the caller moves it on.
Entry& GroupState::add_entry(std::uint64_t seq) {
  Entry& entry = entries_[seq];
  entry.seq = seq;
  entry.state = Entry::State::restored;
  return entry;
}

void GroupState::leave_state(Entry& entry) {
  switch (entry.state) {
    case Entry::State::held:
      unlink_lease(entry);
      entry.holder = nullptr;
      --held_;
      break;
    case Entry::State::delayed: delayed_.erase({entry.until, entry.seq}); break;
    case Entry::State::ready: lane_of(entry.seq).ready.erase(entry.seq); break;
    case Entry::State::restored:
    case Entry::State::waiting: break;
  }
}

void GroupState::extend(Entry& entry, TimePoint lease_until) {
  unlink_lease(entry);
  entry.until = lease_until;
  link_lease(entry);
}

void GroupState::put_back(Entry& entry, bool first) {
  leave_state(entry);
  entry.state = Entry::State::ready;
  auto& ready = lane_of(entry.seq).ready;
  if (first) {
    ready.push_front(entry.seq);
  } else {
    ready.push_back(entry.seq);
  }
}

void GroupState::delay(Entry& entry, TimePoint due) {
  leave_state(entry);
  entry.state = Entry::State::delayed;
  entry.until = due;
  delayed_.emplace(due, entry.seq);
}

std::vector<GroupState::Expired> GroupState::expire(TimePoint now) {
  std::vector<Expired> expired;
  while (lease_first_ != nullptr && lease_first_->until <= now) {
    Entry& entry = *lease_first_;
    expired.push_back({.entry = &entry, .holder = entry.holder, .lost = entry.begun});
    if (entry.begun) ++entry.counters.losses;
    entry.begun = false;
    put_back(entry, false);
  }
  return expired;
}

void GroupState::promote(TimePoint now) {
  while (!delayed_.empty() && delayed_.begin()->first <= now) {
    const std::uint64_t seq = delayed_.begin()->second;
    put_back(entries_.find(seq)->second, false);
    if (!topic_.due_.empty()) topic_.due_.erase(seq);
  }
}

std::optional<GroupState::TimePoint> GroupState::next_change() const {
  std::optional<TimePoint> earliest;
  if (lease_first_ != nullptr) earliest = lease_first_->until;
  if (!delayed_.empty()) earliest = std::min(earliest.value_or(TimePoint::max()), delayed_.begin()->first);
  return earliest;
}

bool GroupState::bury(std::uint64_t seq, DeadEntry dead) {
  const bool another = forget(seq);
  died_[seq] = dead.died_ms;
  dead_.insert_or_assign({dead.died_ms, seq}, std::move(dead));
  return another;
}

Entry* GroupState::redrive(std::uint64_t seq) {
  const DeadEntry* dead = find_dead(seq);
  if (dead == nullptr) return nullptr;
  const std::uint32_t redrives = dead->redrives + 1;
  Entry& entry = restore(seq);
  entry.redrives = redrives;
  oldest_ = std::min(oldest_, seq);
  if (take_key(seq)) {
    put_back(entry, false);
  } else {
    entry.state = Entry::State::waiting;
  }
  return &entry;
}

bool GroupState::settle(std::uint64_t seq) {
  const bool another = forget(seq);
  topic_.close_bit(seq, bit());
  return another;
}

std::vector<void*> GroupState::purge() {
  std::vector<void*> holders;
  for (const auto& [seq, entry] : entries_) {
    if (entry.holder != nullptr) holders.push_back(entry.holder);
  }
  entries_.clear();
  for (auto& lane : lanes_) {
    lane.ready.clear();
    lane.fresh.clear();
  }
  keys_.clear();
  delayed_.clear();
  lease_first_ = lease_last_ = nullptr;
  held_ = fresh_ = waiting_ = 0;
  dead_.clear();
  died_.clear();
  cursor_ = topic_.visible_;
  for (auto seq = topic_.next(0); seq; seq = topic_.next(*seq + 1)) topic_.close_bit(*seq, bit());
  return holders;
}

Lag GroupState::lag(std::chrono::system_clock::time_point now) {
  Lag lag{.pending = ready_count(),
          .in_flight = held_,
          .delayed = delayed_.size(),
          .blocked = waiting_,
          .dead = dead_.size()};
  const auto first = oldest();
  if (!first) return lag;
  const auto since = std::chrono::milliseconds(topic_.find(*first)->published_ms());
  const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()) - since;
  lag.oldest = std::max(age, std::chrono::milliseconds(0));  // people's clock may have stepped back
  lag.overdue = lag.oldest > topic_.settings.overdue_after;
  return lag;
}

Entry& GroupState::restore(std::uint64_t seq) {
  forget(seq);
  return add_entry(seq);
}

// Takes the message out of whatever it is in. True when that lets the next of its key go.
bool GroupState::forget(std::uint64_t seq) {
  if (const auto died = died_.find(seq); died != died_.end()) {
    dead_.erase({died->second, seq});
    died_.erase(died);
    return false;
  }
  if (const auto found = entries_.find(seq); found != entries_.end()) {
    leave_state(found->second);
    entries_.erase(found);
  } else if (seq < topic_.visible_) {
    const Message* message = topic_.find(seq);
    if (message == nullptr || (message->open & bit()) == 0) return false;
    if (topic_.mark(seq) != nullptr) {
      lane_of(seq).fresh.erase(seq);
    } else if (seq >= cursor_) {
      --fresh_;
    }
  }
  return leave_key(seq);
}

// Leases of a topic are equally long, so nearly always the new one is the last.
void GroupState::link_lease(Entry& entry) {
  Entry* before = lease_last_;
  while (before != nullptr && before->until > entry.until) before = before->lease_before;
  entry.lease_before = before;
  entry.lease_after = before == nullptr ? lease_first_ : before->lease_after;
  (before == nullptr ? lease_first_ : before->lease_after) = &entry;
  (entry.lease_after == nullptr ? lease_last_ : entry.lease_after->lease_before) = &entry;
}

void GroupState::unlink_lease(Entry& entry) {
  (entry.lease_before == nullptr ? lease_first_ : entry.lease_before->lease_after) = entry.lease_after;
  (entry.lease_after == nullptr ? lease_last_ : entry.lease_after->lease_before) = entry.lease_before;
  entry.lease_before = entry.lease_after = nullptr;
}

}  // namespace millrace
