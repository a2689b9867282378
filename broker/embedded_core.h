// The part of an embedded broker that its subscriptions and deliveries share: state, journal, timers, and who waits for
// what. Private to embedded_broker.cc and embedded_delivery.cc.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "async/event_loop.h"
#include "broker/embedded_broker.h"
#include "broker/journal.h"
#include "broker/topic_state.h"
#include "broker/wait_list.h"
#include "telemetry/metrics.h"

namespace millrace::embedded {

class EmbeddedDelivery;

// A group at work: its state, its timer, and the next() calls that have credit and wait for a message.
struct GroupRuntime {
  GroupRuntime(EventLoop& loop, TopicState& group_topic, GroupState& group_state)
      : topic(group_topic), group(group_state), waits(loop) {}

  TopicState& topic;
  GroupState& group;
  WaitList waits;
  EventLoop::TimePoint armed{};
  EventLoop::TimePoint overdue_checked{};
  std::uint64_t life = 0;                    // raised when the group is removed: what follows has nothing to do with it
  bool overdue = false;                      // and said so
  std::unique_ptr<EventLoop::Handle> timer;  // for the next lease or delay to end; null: none
};

// Shared, so that a subscription or delivery dropped after the broker finds its state, and that it is closed.
class Core : public std::enable_shared_from_this<Core> {
 public:
  Core(EventLoop& loop, Metrics& metrics, EmbeddedBroker::Options options, std::unique_ptr<TopicTable> table,
       std::unique_ptr<Journal> journal);

  EventLoop& loop;
  const EmbeddedBroker::Options options;
  std::unique_ptr<TopicTable> topics;
  std::unique_ptr<Journal> journal;  // null once closed
  std::move_only_function<void(const std::string& topic)> backlog_changed;
  using Watchers = std::multimap<std::string, TopicWatcher*, std::less<>>;  // by topic; null: it was removed
  Watchers watchers;
  std::set<WaitList*> credit_waits;  // of all subscriptions: who waits for credit hears of the end, too

  Counter& published;
  Counter& duplicates;
  Counter& dropped;
  Counter& leases_lost;
  Counter& losses;
  Counter& refused;
  Gauge& overdue;

  // `unavailable` when closed or when the journal has failed.
  [[nodiscard]] Result<void> usable() const;

  [[nodiscard]] Result<TopicState*> find(std::string_view topic) const;
  [[nodiscard]] Result<GroupRuntime*> find(std::string_view topic, std::string_view group);
  [[nodiscard]] Result<GroupRuntime*> add_group(TopicState& topic, std::string group);
  [[nodiscard]] Result<void> remove_group(GroupRuntime& group);
  [[nodiscard]] Result<void> remove_topic(TopicState& topic);
  GroupRuntime& runtime(TopicState& topic, GroupState& group);

  // A message was added. It may be handed out before it is confirmed: whatever its owner records stands behind it.
  void added(TopicState& topic);

  // What was published on the topic, to those who watch it.
  void show(const std::string& topic, const std::vector<std::shared_ptr<const StoredMessage>>& messages) const;

  // Something may have become deliverable in the group, or a lease or delay began: wakes, tells, sets the timer.
  void changed(GroupRuntime& group);
  // What the group has left; says so when its oldest message is overdue, and when it is not any more.
  Lag lag(GroupRuntime& group);

  // The leases of these are gone: tells them, once all state is in order.
  static void lose(const std::vector<void*>& holders);

  // Stops the timers, ends all leases, wakes everybody; the journal is given out for closing.
  [[nodiscard]] std::unique_ptr<Journal> shut();

 private:
  void end(GroupRuntime& group);
  void arm(GroupRuntime& group);
  void on_timer(GroupRuntime& group);
  void tell_backlog(const TopicState& topic);

  std::vector<const TopicState*> backlog_;  // topics to tell of, in a step that is posted already
  std::unordered_map<const GroupState*, std::unique_ptr<GroupRuntime>> groups_;
};

}  // namespace millrace::embedded
