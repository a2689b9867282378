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

// What this process knows of a topic. Its settings lie in the metadata of its stream, for processes that did not make
// it.
struct Topic {
  std::string name;
  std::chrono::milliseconds lease{0};
  std::chrono::milliseconds overdue_after{0};
  std::optional<TopicSpec> ensured;  // as this process made it last
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
  Semaphore flight;      // bytes published and not confirmed
  TaskGroup background;  // what nobody waits for: deliveries that were dropped
  std::move_only_function<void(const std::string& topic)> backlog_changed;
  std::set<WaitList*> credit_waits;  // of all subscriptions: who waits for credit hears of the end, too

  Counter& published;
  Counter& duplicates;
  Counter& dropped;
  Counter& leases_lost;
  Counter& losses;
  Counter& refused;

  [[nodiscard]] Result<void> usable() const;
  [[nodiscard]] std::string next_owner() { return life + "." + std::to_string(++next_owner_); }
  [[nodiscard]] bool closed() const { return closed_; }

  // The topic, looked up on the server when this process does not know it; not_found when there is none.
  [[nodiscard]] Task<Result<Topic*>> find(std::string topic);
  [[nodiscard]] Topic& remember(const std::string& topic);
  [[nodiscard]] bool is_ensured(const TopicSpec& spec) const;  // this process did, and nothing else since
  [[nodiscard]] bool has_subscriber(const std::string& topic) const;
  void forget(const std::string& topic);  // the server does not know it
  // The group, if it is there; made if `make`.
  [[nodiscard]] Task<Result<Group*>> find(std::string topic, std::string group, bool make);
  [[nodiscard]] Task<Result<Group*>> make_group(Topic& topic, std::string group);

  // The consumer of a group, or the keeper; 0: it sees all that is retained, else what stands from there on.
  [[nodiscard]] Task<Result<void>> make_consumer(const Topic& topic, std::string group, std::uint64_t from);

  void tell_backlog(const std::string& topic);
  // Makes the streams that all topics share, and looks what a confirmation is worth.
  [[nodiscard]] Task<Result<Assessment>> prepare();
  // Everything held is given back, everybody who waits is woken; afterwards nothing is sent.
  [[nodiscard]] Task<void> close();
  // The same without telling anybody, for a broker that was not closed.
  void crash();

 private:
  void end();
  [[nodiscard]] Task<Result<void>> adopt_consumer(const Topic& topic, std::string group);
  [[nodiscard]] Group& add_group(Topic& topic, const std::string& group);
  void reconnected();
  void watch_pulls();

  std::map<std::string, std::unique_ptr<Topic>, std::less<>> topics_;
  std::vector<std::string> backlog_;  // topics to tell of, in a step that is posted already
  std::unique_ptr<EventLoop::Handle> pull_watch_;
  std::uint64_t next_owner_ = 0;
  bool closing_ = false;
  bool closed_ = false;
};

}  // namespace millrace::nats
