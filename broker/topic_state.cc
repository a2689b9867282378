#include "broker/topic_state.h"

#include <algorithm>

namespace millrace {

TopicState* TopicTable::find(std::string_view name) {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

TopicState& TopicTable::add(std::string name) {
  TopicState& topic = restore(next_id());
  restore_name(topic, std::move(name));
  return topic;
}

TopicState& TopicTable::restore(std::uint32_t id) {
  if (by_id_.size() <= id) by_id_.resize(std::size_t{id} + 1);
  auto& slot = by_id_[id];
  if (!slot) slot = std::make_unique<TopicState>(*this, id, dedupe_ids_max_);
  return *slot;
}

void TopicTable::restore_name(TopicState& topic, std::string name) {
  by_name_[name] = &topic;
  topic.name_ = std::move(name);
}

TopicState::TopicState(TopicTable& table, std::uint32_t id, std::size_t dedupe_ids_max)
    : dedupe(dedupe_ids_max), table_(table), id_(id) {}

GroupState* TopicState::find_group(std::string_view group) {
  const auto found = std::ranges::find_if(groups_, [&](const auto& each) { return each->name() == group; });
  return found == groups_.end() ? nullptr : found->get();
}

GroupState* TopicState::group(std::size_t index) {
  return index < groups_.size() ? groups_[index].get() : nullptr;
}

GroupState& TopicState::add_group(std::string group) {
  GroupState& added = restore_group(groups_.size(), std::move(group));
  for (auto seq = messages_.next(0); seq; seq = messages_.next(*seq + 1)) {
    Message& message = *messages_.find(*seq);
    message.open = (message.open & ~kUnclaimed) | added.bit();
    if (*seq >= visible_) continue;
    const auto due = due_.find(*seq);
    added.add_fresh(*seq, due == due_.end() ? std::nullopt : std::optional(due->second));
  }
  return added;
}

GroupState& TopicState::restore_group(std::size_t index, std::string group) {
  if (groups_.size() <= index) groups_.resize(index + 1);
  // Those between get their names later.
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    if (!groups_[i]) groups_[i] = std::make_unique<GroupState>(*this, std::string(), i);
  }
  if (!group.empty()) groups_[index]->name_ = std::move(group);
  return *groups_[index];
}

std::uint64_t TopicState::all_groups() const {
  return groups_.empty() ? kUnclaimed : (1ULL << groups_.size()) - 1;
}

void TopicState::append(Message message, std::optional<TimePoint> due) {
  restore(next_seq_, std::move(message), due);
}

void TopicState::restore(std::uint64_t seq, Message message, std::optional<TimePoint> due) {
  if (const Message* before = messages_.find(seq)) size_bytes_ -= before->size_bytes;
  size_bytes_ += message.size_bytes;
  messages_.insert(seq, std::move(message));
  if (due) due_[seq] = *due;
  next_seq_ = std::max(next_seq_, seq + 1);
}

void TopicState::reveal(std::uint64_t upto) {
  for (; visible_ < upto; ++visible_) {
    const Message* message = messages_.find(visible_);
    if (message == nullptr) continue;  // purged before it was confirmed
    std::optional<TimePoint> due;
    if (!due_.empty()) {
      if (const auto found = due_.find(visible_); found != due_.end()) due = found->second;
    }
    for (const auto& each : groups_) {
      if ((message->open & each->bit()) != 0) each->add_fresh(visible_, due);
    }
  }
}

void TopicState::drop_before(std::uint32_t epoch) {
  for (auto seq = messages_.next(0); seq; seq = messages_.next(*seq + 1)) {
    if (messages_.find(*seq)->place.epoch >= epoch) continue;
    for (const auto& each : groups_) each->forget(*seq);
    close_bit(*seq, ~0ULL);
  }
}

std::vector<std::pair<GroupState*, Entry*>> TopicState::recover() {
  visible_ = next_seq_;
  for (auto seq = messages_.next(0); seq; seq = messages_.next(*seq + 1)) {
    const auto found = due_.find(*seq);
    const auto due = found == due_.end() ? std::nullopt : std::optional(found->second);
    const std::uint64_t open = messages_.find(*seq)->open;
    for (const auto& each : groups_) {
      const bool touched = each->entries_.contains(*seq) || each->died_.contains(*seq);
      if ((open & each->bit()) != 0 && !touched) each->add_fresh(*seq, due);
    }
  }
  std::vector<std::pair<GroupState*, Entry*>> cut_off;
  for (const auto& each : groups_) {
    for (auto& [seq, entry] : each->entries_) {
      if (entry.state == Entry::State::restored) each->put_back(entry, false);
      if (!entry.begun) continue;
      entry.begun = false;
      ++entry.counters.losses;
      cut_off.emplace_back(each.get(), &entry);
    }
  }
  return cut_off;
}

void TopicState::close_bit(std::uint64_t seq, std::uint64_t bit) {
  Message* message = messages_.find(seq);
  if (message == nullptr) return;
  message->open &= ~bit;
  if (message->open != 0) return;
  if (table_.freed_ != nullptr) table_.freed_->freed(*message);
  size_bytes_ -= message->size_bytes;
  messages_.erase(seq);
  if (!due_.empty()) due_.erase(seq);
}

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

Entry* GroupState::take(TimePoint lease_until, void* holder) {
  Entry* entry = fresh_turn_ ? take_fresh() : take_ready();
  if (entry == nullptr) entry = fresh_turn_ ? take_ready() : take_fresh();
  if (entry == nullptr) return nullptr;
  fresh_turn_ = !fresh_turn_;
  entry->state = Entry::State::held;
  entry->holder = holder;
  entry->until = lease_until;
  link_lease(*entry);
  ++held_;
  return entry;
}

Entry* GroupState::take_ready() {
  if (ready_.empty()) return nullptr;
  Entry* entry = find(ready_.front());
  ready_.pop_front();
  return entry;
}

Entry* GroupState::take_fresh() {
  const auto seq = first_fresh();
  if (!seq) return nullptr;
  cursor_ = *seq + 1;
  --fresh_;
  return &add_entry(*seq);
}

std::optional<std::uint64_t> GroupState::first_fresh() {
  if (fresh_ == 0) return std::nullopt;
  for (auto seq = topic_.next(cursor_); seq && *seq < topic_.visible_; seq = topic_.next(*seq + 1)) {
    cursor_ = *seq;
    const bool open = (topic_.find(*seq)->open & bit()) != 0;
    if (open && !entries_.contains(*seq) && !died_.contains(*seq)) return seq;
  }
  return std::nullopt;
}

void GroupState::add_fresh(std::uint64_t seq, std::optional<TimePoint> due) {
  if (!due) {
    ++fresh_;
    return;
  }
  delay(add_entry(seq), *due);
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
    case Entry::State::ready: std::erase(ready_, entry.seq); break;
    case Entry::State::restored: break;
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
  if (first) {
    ready_.push_front(entry.seq);
  } else {
    ready_.push_back(entry.seq);
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

void GroupState::bury(std::uint64_t seq, DeadEntry dead) {
  forget(seq);
  died_[seq] = dead.died_ms;
  dead_.insert_or_assign({dead.died_ms, seq}, std::move(dead));
}

Entry* GroupState::redrive(std::uint64_t seq) {
  const DeadEntry* dead = find_dead(seq);
  if (dead == nullptr) return nullptr;
  const std::uint32_t redrives = dead->redrives + 1;
  Entry& entry = restore(seq);
  entry.redrives = redrives;
  put_back(entry, false);
  return &entry;
}

void GroupState::settle(std::uint64_t seq) {
  forget(seq);
  topic_.close_bit(seq, bit());
}

std::vector<void*> GroupState::purge() {
  std::vector<void*> holders;
  for (const auto& [seq, entry] : entries_) {
    if (entry.holder != nullptr) holders.push_back(entry.holder);
  }
  entries_.clear();
  ready_.clear();
  delayed_.clear();
  lease_first_ = lease_last_ = nullptr;
  held_ = fresh_ = 0;
  dead_.clear();
  died_.clear();
  cursor_ = topic_.visible_;
  for (auto seq = topic_.next(0); seq; seq = topic_.next(*seq + 1)) topic_.close_bit(*seq, bit());
  return holders;
}

Lag GroupState::lag(std::chrono::system_clock::time_point now) {
  Lag lag{.pending = ready_count(), .in_flight = held_, .delayed = delayed_.size(), .dead = dead_.size()};
  std::optional<std::uint64_t> oldest = first_fresh();
  if (!entries_.empty()) oldest = std::min(oldest.value_or(UINT64_MAX), entries_.begin()->first);
  if (!oldest) return lag;
  const auto since = std::chrono::milliseconds(topic_.find(*oldest)->published_ms);
  const auto age = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()) - since;
  lag.oldest = std::max(age, std::chrono::milliseconds(0));  // people's clock may have stepped back
  return lag;
}

Entry& GroupState::restore(std::uint64_t seq) {
  forget(seq);
  return add_entry(seq);
}

// Takes the message out of whatever it is in.
void GroupState::forget(std::uint64_t seq) {
  if (const auto found = entries_.find(seq); found != entries_.end()) {
    leave_state(found->second);
    entries_.erase(found);
  } else if (const auto died = died_.find(seq); died != died_.end()) {
    dead_.erase({died->second, seq});
    died_.erase(died);
  } else if (seq >= cursor_ && seq < topic_.visible_) {
    const Message* message = topic_.find(seq);
    if (message != nullptr && (message->open & bit()) != 0) --fresh_;
  }
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
