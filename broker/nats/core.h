// What the subscriptions and deliveries of a NATS broker share: the link, the topics that were looked up, and whether
// it is closed. Private to this folder.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "async/event_loop.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "async/task_group.h"
#include "broker/broker.h"
#include "broker/nats/durability.h"
#include "broker/nats/jetstream.h"
#include "broker/nats/link.h"
#include "broker/nats/names.h"
#include "broker/nats/nats_options.h"
#include "broker/wait_list.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace::nats {

class Group;
class NatsDelivery;
class Watching;

// What this process knows of a topic. Its settings lie in the metadata of its stream, for processes that did not make
// it.
struct Topic {
  std::string name;
  std::chrono::milliseconds lease{0};
  std::chrono::milliseconds overdue_after{0};
  std::string created;               // when its stream was, as the server writes it: tells it from one of its name
  std::optional<TopicSpec> ensured;  // as this process made it last
  bool prioritized = false;          // its groups have a consumer for each priority
  std::map<std::string, std::unique_ptr<Group>, std::less<>> groups;
};

// Shared, so that a subscription or delivery dropped after the broker finds it, and that it is closed.
class Core : public std::enable_shared_from_this<Core> {
 public:
  Core(EventLoop& loop, Metrics& metrics, Log& log, NatsBrokerOptions options, Names names, std::unique_ptr<Link> link);
  ~Core();

  EventLoop& loop;
  Log& log;
  const NatsBrokerOptions options;
  const Names names;
  const std::string life;  // of this process, in the records of attempts
  std::unique_ptr<Link> link;
  JetStream jetstream;
  Capabilities capabilities;
  Semaphore flight;  // bytes published and not confirmed
  // A publish waits for its forerunner of the same key: sent again after a broken connection it must not come behind
  // it.
  class KeyLine {
   public:
    KeyLine(Core& core, std::string key);
    KeyLine(const KeyLine&) = delete;
    KeyLine& operator=(const KeyLine&) = delete;
    ~KeyLine();
    [[nodiscard]] Task<Result<Semaphore::Permit>> turn() { return line_->second.turn.acquire(1); }

   private:
    friend class Core;
    struct Line {
      explicit Line(EventLoop& loop) : turn(loop, 1) {}
      Semaphore turn;
      std::size_t users = 0;
    };
    Core& core_;
    std::map<std::string, Line>::iterator line_;
  };
  TaskGroup background;  // what nobody waits for: deliveries that were dropped
  std::move_only_function<void(const std::string& topic)> backlog_changed;
  std::set<std::shared_ptr<Watching>> watchings;
  std::set<WaitList*> credit_waits;  // of all subscriptions: who waits for credit hears of the end, too

  Counter& published;
  Counter& duplicates;
  Counter& dropped;
  Counter& leases_lost;
  Counter& losses;
  Counter& refused;
  Counter& arrivals_dropped;
  Counter& reconnects;

  [[nodiscard]] Result<void> usable() const;
  [[nodiscard]] std::string next_owner() { return life + "." + std::to_string(++next_owner_); }
  [[nodiscard]] bool closed() const { return closed_; }

  // The topic, looked up on the server when this process does not know it; not_found when there is none.
  [[nodiscard]] Task<Result<Topic*>> find(std::string topic);
  [[nodiscard]] Topic& remember(const std::string& topic);
  [[nodiscard]] bool is_ensured(const TopicSpec& spec) const;  // this process did, and nothing else since
  [[nodiscard]] bool has_subscriber(const std::string& topic) const;
  void forget(const std::string& topic);  // the server does not know it
  // Its stream is gone, with all that this process knows of it. `here`: this process did it, and who subscribed hears
  // of it; else they wait for the topic to be made again.
  void removed(Topic& topic, bool here);
  // The group, if it is there; made if `make`.
  [[nodiscard]] Task<Result<Group*>> find(std::string topic, std::string group, bool make);
  [[nodiscard]] Task<Result<Group*>> make_group(Topic& topic, std::string group);

  // A consumer of a group, or the keeper; 0: it sees all that is retained, else what stands from there on.
  [[nodiscard]] Task<Result<void>> make_consumer(const Topic& topic, std::string group, Priority priority,
                                                 std::uint64_t from);
  // All of them, whoever made them; the keeper is none.
  [[nodiscard]] Task<Result<std::vector<std::string>>> groups_of(const Topic& topic);
  // Before the first message with a priority is published: every group gets a consumer for each, and everybody hears
  // of it. Most topics never have priorities, and each consumer costs the server memory.
  [[nodiscard]] Task<Result<void>> prioritize(std::string topic);
  // Whether the stream of that name, as the server tells of it, is one of a topic; else it must not be touched.
  [[nodiscard]] Result<void> check_is_ours(const std::string& topic, const Json& stream) const;
  void learn(Topic& topic, const Json& stream);  // what the stream's configuration says

  void tell_backlog(const std::string& topic);
  // Makes the streams that all topics share, and looks what a confirmation is worth.
  [[nodiscard]] Task<Result<Assessment>> prepare();
  // Everything held is given back, everybody who waits is woken; afterwards nothing is sent.
  [[nodiscard]] Task<void> close();
  // The same without telling anybody, for a broker that was not closed.
  void crash();

 private:
  void end();
  [[nodiscard]] Task<Result<void>> adopt_consumer(const Topic& topic, std::string group, Priority priority);
  [[nodiscard]] Task<Result<void>> adopt_or_make(const Topic& topic, std::string group, Priority priority);
  [[nodiscard]] Task<Result<void>> make_lanes(const Topic& topic, std::string group);
  void note_prioritized(Topic& topic);
  void hear(const Message& news);
  void all_anew();  // what came may have been missed
  void look_at_unsure();
  [[nodiscard]] Task<void> look_at_topics();
  [[nodiscard]] Task<void> look_at_topic(std::string name);
  // Whether the servers still have what they had when we came: a server whose store was emptied must not look like one
  // on which nothing happens.
  [[nodiscard]] Task<void> look_for_store();
  [[nodiscard]] Group& add_group(Topic& topic, const std::string& group);
  void reconnected();
  void watch_pulls();

  std::map<std::string, std::unique_ptr<Topic>, std::less<>> topics_;
  std::map<std::string, KeyLine::Line> key_lines_;  // of publishes that wait or are on their way
  Semaphore prioritizing_;
  std::set<std::string> unsure_;  // topics of which we may not have heard all
  bool looking_at_topics_ = false;
  std::vector<std::string> backlog_;  // topics to tell of, in a step that is posted already
  std::unique_ptr<EventLoop::Handle> pull_watch_;
  std::uint64_t next_owner_ = 0;
  std::string store_;  // when the stream of attempts was made
  std::optional<Error> lost_;
  bool closing_ = false;
  bool closed_ = false;
};

}  // namespace millrace::nats
