// Ingest: the one door through which events become work. Match, publish to each function's work topic, await the
// receipts, remember what was seen; only then is the event accepted and may a producer answer 2xx or move on.
//
//   auto accepted = co_await ingest.object_created(object);       // a new file
//   auto accepted = co_await ingest.invoke("resize", std::move(event));
//
// Everything is idempotent: ids say what happened, so the same object or the same idempotency key gives the same runs.
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/task.h"
#include "broker/broker.h"
#include "core/error.h"
#include "core/event.h"
#include "core/ids.h"
#include "core/run.h"
#include "engine/registry.h"
#include "engine/run_table.h"
#include "state/state_store.h"

namespace millrace {

struct AcceptedRun {
  std::string function;
  RunId run_id;
  bool duplicate = false;  // was accepted before
};

struct Accepted {
  EventId event_id;
  std::vector<AcceptedRun> runs;
};

// How an event is to be sent on its way, besides at once.
struct Sending {
  std::chrono::milliseconds delay{0};  // not delivered earlier
  Priority priority = Priority::normal;
};

class Ingest {
 public:
  Ingest(EventLoop& loop, const Registry& registry, Broker& broker, SeenStore& seen, RunTable& runs, UlidMaker& ulids);

  // A root: an object that appeared or changed outside of any function. What a trigger has seen already is not
  // published again, however long ago that was; its run is in the answer as a duplicate.
  [[nodiscard]] Task<Result<Accepted>> object_created(ObjectRef object);

  // The same for a producer that has asked unseen() already: for these triggers only.
  [[nodiscard]] Task<Result<Accepted>> object_created(ObjectRef object, std::vector<Trigger> triggers);

  // Those of `triggers` whose `seen` row does not name this very version of the object.
  [[nodiscard]] Task<Result<std::vector<Trigger>>> unseen(std::vector<Trigger> triggers, ObjectRef object);

  // An event for one function. An empty `source_id` gets a ULID before the first publish. `not_found`: no such
  // function; `invalid_argument`: a delay that is negative or longer than the broker keeps.
  [[nodiscard]] Task<Result<Accepted>> invoke(std::string function, Event event, Sending sending = {});

  // The event about an output of a run: same hops, order and cause for every function that matches, ids from the run.
  [[nodiscard]] Task<Result<Accepted>> output_created(Event event);

  // The event of an object's appearing, complete, as object_created() publishes it.
  [[nodiscard]] Event root_event(ObjectRef object);

  // Events about objects that a function is to run on, once more or for the first time; complete. The runs in their
  // order.
  [[nodiscard]] Task<Result<std::vector<AcceptedRun>>> publish_again(std::shared_ptr<const FunctionSpec> function,
                                                                     std::vector<Event> events);

  // Completes id, order and time of an event that enters here; for a synchronous call, which is not published.
  void stamp_root(Event& event);

 private:
  Task<Result<Accepted>> publish(Event event, std::vector<std::shared_ptr<const FunctionSpec>> functions,
                                 Sending sending = {});
  Task<Result<void>> remember(std::vector<Trigger> triggers, std::string key, EventId id);

  EventLoop& loop_;
  const Registry& registry_;
  Broker& broker_;
  SeenStore& seen_;
  RunTable& runs_;
  UlidMaker& ulids_;
};

// The event id a producer's scan computes for a local object, and `seen` rows hold.
[[nodiscard]] EventId object_event_id(const ObjectRef& object);
[[nodiscard]] std::string object_source(const ObjectRef& object);  // CloudEvents `source`: "/local/<bucket>"

}  // namespace millrace
