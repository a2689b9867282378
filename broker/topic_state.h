// What a topic and its groups hold, as a pure state machine: no loop, no disk, no threads; time comes with each call.
// The memory broker is this machine with nothing behind it; the log broker records each change before it counts.
//
// Every message has a sequence number in its topic and a bit per group that has not settled it; the message goes when
// the last bit does. A group's fresh messages are those from its cursor on: a deep backlog costs nothing per group.
// Only what was touched has an Entry: held by a worker, waiting for its retry, or delayed at publish. Dead letters
// stand apart.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "broker/broker.h"
#include "broker/dedupe_window.h"
#include "broker/seq_table.h"
#include "core/event.h"

namespace millrace {

// A message's immutable part, shared between the cache and all its deliveries.
struct StoredMessage {
  std::string id;
  std::chrono::system_clock::time_point published_at{};
  Event event;
};

// Where a log keeps a record; epoch 0: nowhere.
struct RecordPlace {
  std::uint32_t epoch = 0;   // of the segment
  std::uint32_t offset = 0;  // in it

  bool operator==(const RecordPlace&) const = default;
};

struct Message {
  std::shared_ptr<const StoredMessage> stored;  // null: to be read back
  std::uint64_t open = 0;                       // a bit per group that has not settled it
  std::int64_t published_ms = 0;                // since 1970
  std::uint32_t size_bytes = 0;                 // what it counts for in bytes_max, and its record's length in a log
  RecordPlace place;
};

// One message for one group, once it was touched.
struct Entry {
  enum class State : std::uint8_t { ready, delayed, held, restored };
  State state = State::ready;
  bool begun = false;  // an attempt was recorded and has no outcome yet
  Counters counters;
  std::uint32_t redrives = 0;
  EventLoop::TimePoint until;  // delayed: due; held: the end of the lease
  void* holder = nullptr;      // of a held one: whoever has to hear that the lease is lost
  Entry* lease_before = nullptr;
  Entry* lease_after = nullptr;
  std::uint64_t seq = 0;
};

struct DeadEntry {
  std::string id;
  std::string reason;
  Counters counters;
  std::uint32_t redrives = 0;
  std::int64_t died_ms = 0;  // since 1970
};

class TopicState;
class TopicTable;

class GroupState {
 public:
  using TimePoint = EventLoop::TimePoint;

  GroupState(TopicState& topic, std::string name, std::size_t index);
  GroupState(const GroupState&) = delete;
  GroupState& operator=(const GroupState&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  std::uint32_t recorded_in = 0;  // the log segment with its newest record; 0: none
  [[nodiscard]] std::size_t index() const { return index_; }
  [[nodiscard]] std::uint64_t bit() const { return 1ULL << index_; }
  [[nodiscard]] std::uint32_t topic_id() const;

  // Takes what is to be delivered next and holds it until `lease_until`; null when nothing is. What waits for another
  // try and what is fresh take turns, so that neither starves the other.
  [[nodiscard]] Entry* take(TimePoint lease_until, void* holder);
  [[nodiscard]] bool has_ready() { return !ready_.empty() || fresh_ > 0; }
  [[nodiscard]] std::uint64_t ready_count() const { return ready_.size() + fresh_; }

  [[nodiscard]] Entry* find(std::uint64_t seq);
  [[nodiscard]] DeadEntry* find_dead(std::uint64_t seq);

  // A held entry.
  void extend(Entry& entry, TimePoint lease_until);
  void put_back(Entry& entry, bool first);  // ready at once, at the front or the end
  void delay(Entry& entry, TimePoint due);  // ready then
  struct Expired {
    Entry* entry;
    void* holder;
    bool lost;  // an attempt had begun: a loss was counted
  };
  [[nodiscard]] std::vector<Expired> expire(TimePoint now);    // whose lease ran out: now ready
  void promote(TimePoint now);                                 // what is due becomes ready
  [[nodiscard]] std::optional<TimePoint> next_change() const;  // when expire() or promote() have something to do

  void bury(std::uint64_t seq, DeadEntry dead);  // out of the entries, into the dead letters
  // Back from the dead letters, ready, counters at zero, one redrive more. Null when it is not there.
  Entry* redrive(std::uint64_t seq);
  [[nodiscard]] const std::map<std::pair<std::int64_t, std::uint64_t>, DeadEntry>& dead() const { return dead_; }

  // Forgets the message here, and with the last group everywhere.
  void settle(std::uint64_t seq);
  // Forgets all. The holders of what was held are returned: their leases are lost.
  [[nodiscard]] std::vector<void*> purge();

  [[nodiscard]] Lag lag(std::chrono::system_clock::time_point now);

  // A fresh entry for a message in place of whatever was known of it. For recovery: the caller fills in the counters,
  // and TopicState::recover() makes it ready unless it is delayed by then.
  Entry& restore(std::uint64_t seq);
  void restore_delay(Entry& entry, TimePoint due) { delay(entry, due); }

 private:
  friend class TopicState;

  void add_fresh(std::uint64_t seq, std::optional<TimePoint> due);
  [[nodiscard]] std::optional<std::uint64_t> first_fresh();
  Entry& add_entry(std::uint64_t seq);
  [[nodiscard]] Entry* take_ready();
  [[nodiscard]] Entry* take_fresh();
  void leave_state(Entry& entry);
  void forget(std::uint64_t seq);
  void link_lease(Entry& entry);
  void unlink_lease(Entry& entry);

  TopicState& topic_;
  std::string name_;
  std::size_t index_;
  std::uint64_t cursor_ = 0;  // nothing below is fresh
  std::uint64_t fresh_ = 0;   // visible from the cursor on, open here, without entry
  bool fresh_turn_ = true;
  std::map<std::uint64_t, Entry> entries_;
  std::deque<std::uint64_t> ready_;
  std::set<std::pair<TimePoint, std::uint64_t>> delayed_;
  Entry* lease_first_ = nullptr;  // a list in the order of expiry
  Entry* lease_last_ = nullptr;
  std::uint64_t held_ = 0;
  std::map<std::pair<std::int64_t, std::uint64_t>, DeadEntry> dead_;  // by time of death
  std::unordered_map<std::uint64_t, std::int64_t> died_;              // seq to time of death
};

struct TopicSettings {
  std::chrono::milliseconds lease = std::chrono::seconds(30);
  std::chrono::milliseconds dedupe_window = std::chrono::minutes(10);
  std::uint64_t bytes_max = 1ULL << 40;

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

  DedupeWindow dedupe;
  std::uint32_t recorded_in = 0;  // the log segment with its newest record; 0: none
  TopicSettings settings;

  [[nodiscard]] GroupState* find_group(std::string_view group);
  [[nodiscard]] GroupState* group(std::size_t index);  // null when there is none
  [[nodiscard]] const std::vector<std::unique_ptr<GroupState>>& groups() const { return groups_; }
  // Adds a group that sees everything still retained; the caller has checked the number.
  GroupState& add_group(std::string group);
  // At its recorded number and without looking at the messages: their own bits say what it has open. Without a name yet
  // if that stands further on.
  GroupState& restore_group(std::size_t index, std::string group = {});

  // The bits a message published now starts with.
  [[nodiscard]] std::uint64_t all_groups() const;
  [[nodiscard]] std::uint64_t next_seq() const { return next_seq_; }
  [[nodiscard]] std::uint64_t visible() const { return visible_; }  // sequence numbers below may be delivered

  // Adds a message as next_seq(); nobody sees it before reveal().
  void append(Message message, std::optional<TimePoint> due);
  void reveal(std::uint64_t upto);

  // Recovery: messages and entries are put back in the order of the log, nothing is visible until recover(), which
  // returns the entries whose attempt was cut off: each has counted a loss.
  void restore(std::uint64_t seq, Message message, std::optional<TimePoint> due);  // or replaces
  void drop_before(std::uint32_t epoch);  // messages whose records lie in older segments than that
  [[nodiscard]] std::vector<std::pair<GroupState*, Entry*>> recover();

  [[nodiscard]] Message* find(std::uint64_t seq) { return messages_.find(seq); }
  [[nodiscard]] std::optional<std::uint64_t> next(std::uint64_t from) { return messages_.next(from); }
  [[nodiscard]] std::size_t size() const { return messages_.size(); }
  [[nodiscard]] std::uint64_t size_bytes() const { return size_bytes_; }

 private:
  friend class GroupState;

  void close_bit(std::uint64_t seq, std::uint64_t bit);

  friend class TopicTable;

  TopicTable& table_;
  std::uint32_t id_;
  std::string name_;
  std::uint64_t next_seq_ = 0;
  std::uint64_t visible_ = 0;
  std::uint64_t size_bytes_ = 0;
  SeqTable<Message> messages_;
  std::map<std::uint64_t, TimePoint> due_;  // of messages published with a delay, until they are due
  std::vector<std::unique_ptr<GroupState>> groups_;
};

// Hears of every message that nobody wants any more, just before it goes.
class FreedMessages {
 public:
  virtual ~FreedMessages() = default;
  virtual void freed(const Message& message) = 0;
};

// All topics, by name and by number. Topics are never removed.
class TopicTable {
 public:
  explicit TopicTable(std::size_t dedupe_ids_max) : dedupe_ids_max_(dedupe_ids_max) {}
  TopicTable(const TopicTable&) = delete;
  TopicTable& operator=(const TopicTable&) = delete;

  [[nodiscard]] TopicState* find(std::string_view name);
  [[nodiscard]] TopicState* find(std::uint32_t id) { return id < by_id_.size() ? by_id_[id].get() : nullptr; }
  TopicState& add(std::string name);  // under next_id()
  [[nodiscard]] std::uint32_t next_id() const { return static_cast<std::uint32_t>(by_id_.size()); }
  // The topic with this number, made without a name if need be: in a log that was compacted a topic's messages may
  // stand before its name.
  TopicState& restore(std::uint32_t id);
  void restore_name(TopicState& topic, std::string name);

  [[nodiscard]] const std::map<std::string, TopicState*, std::less<>>& by_name() const { return by_name_; }
  [[nodiscard]] const std::vector<std::unique_ptr<TopicState>>& all() const { return by_id_; }  // may hold null

  void set_freed(FreedMessages* freed) { freed_ = freed; }

 private:
  friend class TopicState;

  std::size_t dedupe_ids_max_;
  FreedMessages* freed_ = nullptr;
  std::map<std::string, TopicState*, std::less<>> by_name_;
  std::vector<std::unique_ptr<TopicState>> by_id_;
};

}  // namespace millrace
