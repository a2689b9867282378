#include "broker/topic_state.h"

#include <algorithm>

namespace millrace {

TopicState* TopicTable::find(std::string_view name) {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : found->second;
}

TopicState& TopicTable::add(std::string name) {
  const std::uint32_t id = next_id();
  const std::uint64_t first = first_seq(id);
  TopicState& topic = restore(id);
  restore_name(topic, std::move(name), first);
  return topic;
}

std::uint64_t TopicTable::first_seq(std::uint32_t id) const {
  return id < by_id_.size() && by_id_[id] ? by_id_[id]->next_seq_ : 0;
}

std::vector<void*> TopicTable::remove(TopicState& topic) {
  if (const auto named = by_name_.find(topic.name_); named != by_name_.end() && named->second == &topic) {
    by_name_.erase(named);
  }
  free_.insert(topic.id_);
  return topic.remove();
}

TopicState& TopicTable::restore(std::uint32_t id) {
  for (auto between = static_cast<std::uint32_t>(by_id_.size()); between < id; ++between) free_.insert(between);
  if (by_id_.size() <= id) by_id_.resize(std::size_t{id} + 1);
  auto& slot = by_id_[id];
  if (!slot) {
    slot = std::make_unique<TopicState>(*this, id, dedupe_ids_max_);
    free_.erase(id);
  }
  return *slot;
}

void TopicTable::restore_name(TopicState& topic, std::string name, std::uint64_t first_seq) {
  by_name_[name] = &topic;
  topic.name_ = std::move(name);
  topic.removed_ = false;
  topic.first_seq_ = first_seq;
  topic.next_seq_ = std::max(topic.next_seq_, first_seq);
  free_.erase(topic.id_);
}

TopicState::TopicState(TopicTable& table, std::uint32_t id, std::size_t dedupe_ids_max)
    : dedupe(dedupe_ids_max), table_(table), id_(id) {}

GroupState* TopicState::find_group(std::string_view group) {
  const auto found =
      std::ranges::find_if(groups_, [&](const auto& each) { return !each->is_removed() && each->name() == group; });
  return found == groups_.end() ? nullptr : found->get();
}

GroupState* TopicState::group(std::size_t index) {
  return index < groups_.size() ? groups_[index].get() : nullptr;
}

std::size_t TopicState::free_group() const {
  const auto removed = std::ranges::find_if(groups_, [](const auto& each) { return each->is_removed(); });
  return static_cast<std::size_t>(removed - groups_.begin());
}

std::vector<void*> TopicState::remove_group(std::size_t index) {
  GroupState& group = restore_group(index);
  group.removed_ = true;
  group.name_.clear();
  return group.purge();
}

std::vector<void*> TopicState::remove() {
  for (auto seq = messages_.next(0); seq; seq = messages_.next(*seq + 1)) close_bit(*seq, ~0ULL);
  std::vector<void*> holders;
  for (std::size_t index = 0; index < groups_.size(); ++index) {
    const auto held = remove_group(index);
    holders.insert(holders.end(), held.begin(), held.end());
  }
  dedupe.clear();
  settings = {};
  name_.clear();
  removed_ = true;
  return holders;
}

GroupState& TopicState::add_group(std::size_t index, std::string group) {
  GroupState& added = restore_group(index, std::move(group));
  added.cursor_ = added.oldest_ = 0;  // where one stood that was removed
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
  if (!group.empty()) {
    groups_[index]->name_ = std::move(group);
    groups_[index]->removed_ = false;
  }
  return *groups_[index];
}

std::uint64_t TopicState::all_groups() const {
  std::uint64_t bits = 0;
  for (const auto& each : groups_) {
    if (!each->is_removed()) bits |= each->bit();
  }
  return bits == 0 ? kUnclaimed : bits;
}

void TopicState::append(const Message& message, const Mark& mark, std::shared_ptr<const StoredMessage> content,
                        std::optional<TimePoint> due) {
  const std::uint64_t seq = next_seq_;
  keep_content(seq, std::move(content));
  restore(seq, message, mark, due);
  visible_ = next_seq_;
  for (const auto& each : groups_) {
    if ((message.open & each->bit()) != 0) each->add_fresh(seq, due);
  }
}

void TopicState::restore(std::uint64_t seq, const Message& message, const Mark& mark, std::optional<TimePoint> due) {
  if (const Message* before = messages_.find(seq)) size_bytes_ -= before->size_bytes();
  size_bytes_ += message.size_bytes();
  messages_.insert(seq, message);
  if (mark.says_something()) marks_.insert(seq, mark);
  if (due) due_[seq] = *due;
  next_seq_ = std::max(next_seq_, seq + 1);
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
      if ((open & each->bit()) != 0) each->add_recovered(*seq, due);
    }
  }
  std::vector<std::pair<GroupState*, Entry*>> cut_off;
  for (const auto& each : groups_) {
    for (auto& [seq, entry] : each->entries_) {
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
  size_bytes_ -= message->size_bytes();
  messages_.erase(seq);
  marks_.erase(seq);
  contents_.erase(seq);
  if (!due_.empty()) due_.erase(seq);
}

std::shared_ptr<const StoredMessage> TopicState::content(std::uint64_t seq) {
  const auto* found = contents_.find(seq);
  return found == nullptr ? nullptr : *found;
}

void TopicState::keep_content(std::uint64_t seq, std::shared_ptr<const StoredMessage> content) {
  contents_.insert(seq, std::move(content));
}

}  // namespace millrace
