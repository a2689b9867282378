// The registry: every function there is, and which objects start which of them.
//
//   auto applied = co_await registry.apply(std::move(spec));     // checked, durable, watched, subscribed
//   for (const Match& match : registry.match(object)) ...        // who runs on this object
//
// A spec in here never changes: an update is a new revision beside the old one, and whoever holds the old keeps it.
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "broker/broker.h"
#include "core/error.h"
#include "core/event.h"
#include "core/function_spec.h"
#include "core/ids.h"
#include "engine/function_observer.h"
#include "engine/user_topics.h"
#include "runtime/executor.h"
#include "state/state_store.h"
#include "storage/object_store.h"
#include "telemetry/log.h"

namespace millrace {

class Nodes;

// The executors by kind; an absent one was not built or has no rights here.
class Executors {
 public:
  void add(ExecutorKind kind, Executor& executor) { by_kind_[kind] = &executor; }
  // `failed_precondition` when this daemon has no such executor.
  [[nodiscard]] Result<Executor*> find(ExecutorKind kind) const;

 private:
  std::map<ExecutorKind, Executor*> by_kind_;
};

// One input of one function: what a producer watches and `seen` rows belong to.
struct Trigger {
  std::string id;  // stable over updates that keep the path
  std::shared_ptr<const FunctionSpec> function;
  StoragePath path;
};

[[nodiscard]] std::string trigger_id(const FunctionSpec& function, const InputSpec& input);
[[nodiscard]] std::vector<Trigger> triggers_of(const std::shared_ptr<const FunctionSpec>& function);

// True when the last part of `key` matches none of the function's ignore globs.
[[nodiscard]] bool wanted(const FunctionSpec& function, std::string_view key);

struct Applied {
  std::shared_ptr<const FunctionSpec> function;
  bool created = false;
  bool changed = false;               // false: the very same spec stood; what it needs was made sure of once more
  std::vector<std::string> warnings;  // defaults that do not hold on this host
};

class Registry {
 public:
  Registry(EventLoop& loop, FunctionStore& store, Broker& broker, ObjectStore& objects, const Executors& executors,
           UlidMaker& ulids, std::chrono::milliseconds lease, Log& log);

  // Whose memory and cpu the functions are measured by, before load(); without it nothing is measured.
  void heed(Nodes& nodes) { nodes_ = &nodes; }

  // All observers, before load(). Those that make events of a function's inputs are told as soon as these and its work
  // topic are there: what comes waits on the topic, also while the rest of the function is not ready.
  void observe_inputs(FunctionObserver& producer) { producers_.push_back(&producer); }
  void observe(FunctionObserver& observer) { observers_.push_back(&observer); }

  // Reads what is stored and tells the observers; once, at start.
  [[nodiscard]] Task<Result<void>> load();

  // Those that are applied and not ready are tried again, with pauses that grow, until each is ready or removed. Until
  // stopped; one such task.
  [[nodiscard]] Task<void> prepare_the_rest(std::stop_token stop);

  // Why the function is not ready on this node; nothing when it is.
  [[nodiscard]] std::optional<Error> unready(std::string_view name) const;

  // Creates or updates all of them. All are checked, also against one another, before the first is stored: an error
  // that names a field or a loop has changed nothing. In the order given.
  [[nodiscard]] Task<Result<std::vector<Applied>>> apply(std::vector<FunctionSpec> specs);

  // Checks like apply() and changes nothing.
  [[nodiscard]] Task<Result<std::vector<Applied>>> check(std::vector<FunctionSpec> specs);

  // Other nodes apply and remove functions in the same store: takes over what stands there, and tells the observers.
  // Before every apply() and remove(), too, from the first call on.
  [[nodiscard]] Task<Result<void>> refresh();

  // Removes the function. Its data, its topic and its run records stay.
  [[nodiscard]] Task<Result<void>> remove(std::string name);

  // Removes the topic with all that is in it. `failed_precondition` names the function whose work topic it is, or those
  // that read it. Functions that publish on it make it again.
  [[nodiscard]] Task<Result<void>> remove_topic(std::string topic);

  [[nodiscard]] std::shared_ptr<const FunctionSpec> find(std::string_view name) const;
  [[nodiscard]] std::vector<std::shared_ptr<const FunctionSpec>> all() const;  // by name

  // What of a function does not hold on this host, as apply() warned; a host may also have lost what it had then.
  [[nodiscard]] Task<std::vector<std::string>> warnings(std::shared_ptr<const FunctionSpec> function);

  [[nodiscard]] const UserTopics& topics() const { return topics_; }

  // Triggers whose path contains the object and whose function wants it, at most one per function.
  [[nodiscard]] std::vector<Trigger> match(const ObjectRef& object) const;

  // Every observer's drain(), one after the other.
  [[nodiscard]] Task<Result<void>> drain(std::stop_token stop = {});

 private:
  using Functions = std::map<std::string, std::shared_ptr<const FunctionSpec>, std::less<>>;

  Task<Result<std::vector<Applied>>> apply_once(std::vector<FunctionSpec> specs);
  Task<Result<void>> take_stored();
  Task<void> take_over(FunctionSpec spec);
  Task<void> let_go(std::shared_ptr<const FunctionSpec> gone);
  Task<Result<Applied>> apply_checked(FunctionSpec spec, std::vector<std::string> warnings);
  Task<void> report_lost_topics();
  Task<void> drop_orphans();
  void leave_later(const FunctionSpec& before);
  Task<void> leave_topics(std::string function, std::shared_ptr<const FunctionSpec> now);
  Task<Result<void>> prepare(std::shared_ptr<const FunctionSpec> function);
  Task<Result<void>> prepare_inputs(std::shared_ptr<const FunctionSpec> function);
  Task<Result<void>> prepare_runs(std::shared_ptr<const FunctionSpec> function);
  Task<Result<void>> ensure_work_topic(std::string function);
  void not_ready(const std::string& function, Error error);
  Task<bool> pause(std::stop_token stop);
  void rebuild_index();
  void forget(const FunctionSpec& revision);  // what an executor has prepared for it

  EventLoop& loop_;
  FunctionStore& store_;
  Broker& broker_;
  ObjectStore& objects_;
  const Executors& executors_;
  UlidMaker& ulids_;
  std::chrono::milliseconds lease_;  // of deliveries of work topics
  UserTopics topics_;
  Log& log_;
  Nodes* nodes_ = nullptr;
  std::vector<FunctionObserver*> producers_;
  std::vector<FunctionObserver*> observers_;
  Functions functions_;
  std::map<std::string, Error, std::less<>> unready_;
  // By function: topics that earlier revisions of it read. Its workers read there until the new one is ready.
  std::map<std::string, std::set<std::string>, std::less<>> to_leave_;
  OneShot<bool> try_again_;  // whoever sets it true wants that at once
  std::uint32_t times_ = 0;  // in a row that some stayed unready
  // bucket -> its triggers; a bucket has few, so matching walks them.
  std::map<std::string, std::vector<Trigger>, std::less<>> index_;
  Semaphore changes_;  // one apply, remove or refresh at a time
  bool shared_ = false;
};

}  // namespace millrace
