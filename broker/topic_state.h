// What a topic and its groups hold, as a pure state machine: no loop, no disk, no threads; time comes with each call.
// The memory broker is this machine with nothing behind it; the log broker records each change before it counts.
//
// Every message has a sequence number in its topic and a bit per group that has not settled it; the message goes when
// the last bit does. What each group knows beyond that is in group_state.h.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "broker/dedupe_window.h"
#include "broker/group_state.h"
#include "broker/message.h"
#include "broker/seq_table.h"

namespace millrace {

class TopicTable;

struct TopicSettings {
  std::chrono::milliseconds lease = std::chrono::seconds(30);
  std::chrono::milliseconds dedupe_window = std::chrono::minutes(10);
  std::uint64_t bytes_max = 1ULL << 40;
  std::uint64_t messages_max = 10'000'000;
  std::chrono::milliseconds overdue_after = std::chrono::hours(24 * 7);

  bool operator==(const TopicSettings&) const = default;
};

class TopicState {
 public:
  using TimePoint = EventLoop::TimePoint;
  static constexpr std::size_t kGroupsMax = 63;
  // Marks a message of a topic that has no group yet: the first one finds it.
  static constexpr std::uint64_t kUnclaimed = 1ULL << 63;

  TopicState(TopicTable& table, std::uint32_t id, std::size_t dedupe_ids_max);
  TopicState(const TopicState&) = delete;
  TopicState& operator=(const TopicState&) = delete;

  [[nodiscard]] std::uint32_t id() const { return id_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool is_removed() const { return removed_; }  // its number is free for another

  DedupeWindow dedupe;
  std::uint32_t recorded_in = 0;  // the log segment with its newest record; 0: none
  TopicSettings settings;

  [[nodiscard]] GroupState* find_group(std::string_view group);
  [[nodiscard]] GroupState* group(std::size_t index);  // null when there is none
  [[nodiscard]] const std::vector<std::unique_ptr<GroupState>>& groups() const { return groups_; }
  // Where the next group goes: the place of one that was removed, or behind the last.
  [[nodiscard]] std::size_t free_group() const;
  // Adds a group at such a place, which sees everything still retained; the caller has checked the number.
  GroupState& add_group(std::size_t index, std::string group);
  // Takes it out with all that it has open. The holders of what was held are returned: their leases are lost.
  [[nodiscard]] std::vector<void*> remove_group(std::size_t index);
  // At its recorded number and without looking at the messages: their own bits say what it has open. Without a name yet
  // if that stands further on.
  GroupState& restore_group(std::size_t index, std::string group = {});

  // The bits a message published now starts with.
  [[nodiscard]] std::uint64_t all_groups() const;
  [[nodiscard]] std::uint64_t next_seq() const { return next_seq_; }
  // The number that its first message got. Not 0 where a topic was removed that had this one's number: those of
  // messages go on, so that none ever stands for two.
  [[nodiscard]] std::uint64_t first_seq() const { return first_seq_; }

  // Adds a message as next_seq().
  void append(const Message& message, const Mark& mark, std::shared_ptr<const StoredMessage> content,
              std::optional<TimePoint> due);

  // Recovery: messages and entries are put back in the order of the log, nothing is visible until recover(), which
  // returns the entries whose attempt was cut off: each has counted a loss.
  void restore(std::uint64_t seq, const Message& message, const Mark& mark,
               std::optional<TimePoint> due);  // or replaces
  void drop_before(std::uint32_t epoch);       // messages whose records lie in older segments than that
  [[nodiscard]] std::vector<std::pair<GroupState*, Entry*>> recover();

  [[nodiscard]] Message* find(std::uint64_t seq) { return messages_.find(seq); }
  [[nodiscard]] const Mark* mark(std::uint64_t seq) { return marks_.size() == 0 ? nullptr : marks_.find(seq); }
  [[nodiscard]] std::optional<std::uint64_t> next(std::uint64_t from) { return messages_.next(from); }
  [[nodiscard]] std::size_t size() const { return messages_.size(); }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

  // The content of a message, where it is in memory: a journal that can read it back lets go of it.
  [[nodiscard]] std::shared_ptr<const StoredMessage> content(std::uint64_t seq);
  void keep_content(std::uint64_t seq, std::shared_ptr<const StoredMessage> content);
  void drop_content(std::uint64_t seq) { contents_.erase(seq); }

 private:
  friend class GroupState;
  friend class TopicTable;

  [[nodiscard]] std::vector<void*> remove();
  void close_bit(std::uint64_t seq, std::uint64_t bit);

  TopicTable& table_;
  std::uint32_t id_;
  std::string name_;
  bool removed_ = false;
  std::uint64_t first_seq_ = 0;
  std::uint64_t next_seq_ = 0;
  std::uint64_t visible_ = 0;
  std::uint64_t size_bytes_ = 0;
  SeqTable<Message> messages_;
  SeqTable<Mark> marks_;
  SeqTable<std::shared_ptr<const StoredMessage>> contents_;
  std::map<std::uint64_t, TimePoint> due_;  // of messages published with a delay, until they are due
  std::vector<std::unique_ptr<GroupState>> groups_;
};

// Hears of every message that nobody wants any more, just before it goes.
class FreedMessages {
 public:
  virtual ~FreedMessages() = default;
  virtual void freed(const Message& message) = 0;
};

// All topics, by name and by number. A removed one stays without a name, for whoever still refers to it, until another
// gets its number.
class TopicTable {
 public:
  explicit TopicTable(std::size_t dedupe_ids_max) : dedupe_ids_max_(dedupe_ids_max) {}
  TopicTable(const TopicTable&) = delete;
  TopicTable& operator=(const TopicTable&) = delete;

  [[nodiscard]] TopicState* find(std::string_view name);
  [[nodiscard]] TopicState* find(std::uint32_t id) { return id < by_id_.size() ? by_id_[id].get() : nullptr; }
  TopicState& add(std::string name);  // under next_id()
  [[nodiscard]] std::uint32_t next_id() const {
    return free_.empty() ? static_cast<std::uint32_t>(by_id_.size()) : *free_.begin();
  }
  // first_seq() of a topic that is added under this number.
  [[nodiscard]] std::uint64_t first_seq(std::uint32_t id) const;
  // Takes it out with all that is in it. The holders of what was held are returned: their leases are lost.
  [[nodiscard]] std::vector<void*> remove(TopicState& topic);
  // The topic with this number, made without a name if need be: in a log that was compacted a topic's messages may
  // stand before its name.
  TopicState& restore(std::uint32_t id);
  void restore_name(TopicState& topic, std::string name, std::uint64_t first_seq);

  [[nodiscard]] const std::map<std::string, TopicState*, std::less<>>& by_name() const { return by_name_; }
  [[nodiscard]] const std::vector<std::unique_ptr<TopicState>>& all() const { return by_id_; }  // may hold null

  void set_freed(FreedMessages* freed) { freed_ = freed; }

 private:
  friend class TopicState;

  std::size_t dedupe_ids_max_;
  FreedMessages* freed_ = nullptr;
  std::map<std::string, TopicState*, std::less<>> by_name_;
  std::vector<std::unique_ptr<TopicState>> by_id_;
  std::set<std::uint32_t> free_;  // numbers below by_id_.size()
};

}  // namespace millrace
