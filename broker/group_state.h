// What a group of a topic knows of its messages: which are fresh, held, waiting for their retry, dead, or behind
// another of their key. Part of the state machine of topic_state.h: no loop, no disk, no threads; time comes with each
// call.
//
// A group's fresh messages without a mark are those from its cursor on: a deep backlog costs nothing per group. Marked
// ones stand in the queue of their priority; one whose key is taken stands behind it until the one before is settled or
// dead. Only what was touched has an Entry: held by a worker, waiting for its retry, or delayed at publish.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "async/frame_pool.h"
#include "broker/broker.h"
#include "broker/message.h"
#include "broker/ring_queue.h"

namespace millrace {

class TopicState;

// One message for one group, once it was touched.
struct Entry {
  enum class State : std::uint8_t {
    ready,
    delayed,
    held,
    restored,  // in no queue yet
    waiting,   // behind another of its key
  };
  State state = State::restored;
  bool begun = false;  // an attempt was recorded and has no outcome yet
  Counters counters;
  std::uint32_t redrives = 0;
  EventLoop::TimePoint until;  // delayed, and waiting with a delay: due; held: the end of the lease
  void* holder = nullptr;      // of a held one: whoever has to hear that the lease is lost
  Entry* lease_before = nullptr;
  Entry* lease_after = nullptr;
  std::uint64_t seq = 0;

  // When it may be delivered again, if that is later than as soon as possible.
  [[nodiscard]] std::optional<EventLoop::TimePoint> due() const {
    const bool later = state == State::delayed || (state == State::waiting && until != EventLoop::TimePoint());
    return later ? std::optional(until) : std::nullopt;
  }
};

struct DeadEntry {
  std::string id;
  std::string reason;
  Counters counters;
  std::uint32_t redrives = 0;
  std::int64_t died_ms = 0;  // since 1970
};

class GroupState {
 public:
  using TimePoint = EventLoop::TimePoint;

  GroupState(TopicState& topic, std::string name, std::size_t index);
  GroupState(const GroupState&) = delete;
  GroupState& operator=(const GroupState&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool is_removed() const { return removed_; }  // its place is free for another
  std::uint32_t recorded_in = 0;                              // the log segment with its newest record; 0: none
  [[nodiscard]] std::size_t index() const { return index_; }
  [[nodiscard]] std::uint64_t bit() const { return 1ULL << index_; }
  [[nodiscard]] std::uint32_t topic_id() const;

  // Takes what is to be delivered next and holds it until `lease_until`; null when nothing is. Priorities share by
  // their weights; of one priority, what waits for another try and what is fresh take turns, so that neither starves
  // the other.
  [[nodiscard]] Entry* take(TimePoint lease_until, void* holder);
  [[nodiscard]] bool has_ready() const { return ready_count() > 0; }
  [[nodiscard]] std::uint64_t ready_count() const;

  [[nodiscard]] Entry* find(std::uint64_t seq);
  [[nodiscard]] DeadEntry* find_dead(std::uint64_t seq);
  [[nodiscard]] bool is_blocked(std::uint64_t seq) const;  // behind another of its key

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

  // Out of the entries, into the dead letters. True when that lets the next of its key go.
  bool bury(std::uint64_t seq, DeadEntry dead);
  // Back from the dead letters, counters at zero, one redrive more. Null when it is not there.
  Entry* redrive(std::uint64_t seq);
  [[nodiscard]] const std::map<std::pair<std::int64_t, std::uint64_t>, DeadEntry>& dead() const { return dead_; }

  // Forgets the message here, and with the last group everywhere. True when that lets the next of its key go.
  bool settle(std::uint64_t seq);
  // Forgets all. The holders of what was held are returned: their leases are lost.
  [[nodiscard]] std::vector<void*> purge();

  [[nodiscard]] Lag lag(std::chrono::system_clock::time_point now);

  // A fresh entry for a message in place of whatever was known of it. For recovery: the caller fills in the counters,
  // and TopicState::recover() makes it ready unless it is delayed by then.
  Entry& restore(std::uint64_t seq);
  void restore_delay(Entry& entry, TimePoint due) { delay(entry, due); }

 private:
  friend class TopicState;

  struct Lane {  // of a priority
    RingQueue<std::uint64_t> ready;
    RingQueue<std::uint64_t> fresh;  // marked ones
    bool fresh_turn = true;
    std::int32_t share = 0;  // what it has waited for, in weights
  };
  struct KeyQueue {
    std::uint64_t first = 0;                              // the one that may be delivered
    std::unique_ptr<RingQueue<std::uint64_t>> waiting{};  // those behind it; null: none so far
  };

  void add_fresh(std::uint64_t seq, std::optional<TimePoint> due);
  void add_recovered(std::uint64_t seq, std::optional<TimePoint> due);
  void start(std::uint64_t seq, std::optional<TimePoint> due);
  [[nodiscard]] bool take_key(std::uint64_t seq);
  bool leave_key(std::uint64_t seq);
  [[nodiscard]] Lane& lane_of(std::uint64_t seq);
  [[nodiscard]] std::uint64_t ready_in(std::size_t priority) const;
  [[nodiscard]] std::size_t choose_lane();
  [[nodiscard]] std::optional<std::uint64_t> first_fresh();
  [[nodiscard]] std::optional<std::uint64_t> oldest();
  Entry& add_entry(std::uint64_t seq);
  [[nodiscard]] Entry* take_ready(Lane& lane);
  [[nodiscard]] Entry* take_fresh(Lane& lane);
  void leave_state(Entry& entry);
  bool forget(std::uint64_t seq);
  void link_lease(Entry& entry);
  void unlink_lease(Entry& entry);

  TopicState& topic_;
  std::string name_;
  bool removed_ = false;
  std::size_t index_;
  std::uint64_t cursor_ = 0;  // nothing without a mark below is fresh
  std::uint64_t fresh_ = 0;   // visible from the cursor on, open here, without mark and entry
  std::uint64_t oldest_ = 0;  // what is below is settled or dead
  std::array<Lane, kPriorities> lanes_;
  std::unordered_map<std::uint64_t, KeyQueue> keys_;  // by digest, those with a message that is not settled
  std::uint64_t waiting_ = 0;                         // in all of keys_
  std::map<std::uint64_t, Entry, std::less<>, FramePoolAllocator<std::pair<const std::uint64_t, Entry>>> entries_;
  std::set<std::pair<TimePoint, std::uint64_t>> delayed_;
  Entry* lease_first_ = nullptr;  // a list in the order of expiry
  Entry* lease_last_ = nullptr;
  std::uint64_t held_ = 0;
  std::map<std::pair<std::int64_t, std::uint64_t>, DeadEntry> dead_;  // by time of death
  std::unordered_map<std::uint64_t, std::int64_t> died_;              // seq to time of death
};

}  // namespace millrace
