// The delivery handler: takes one delivery from the broker to its verdict. Together with the invoker this is the whole
// life of an event, to be read from top to bottom.
//
// Threads: the domain loop. Never blocks, owns every resource it touches: leaving at any point releases them.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <stop_token>
#include <string>

#include "async/event_loop.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "broker/broker.h"
#include "core/backoff.h"
#include "core/run.h"
#include "engine/admission.h"
#include "engine/circuits.h"
#include "engine/finish.h"
#include "engine/invoker.h"
#include "engine/run_table.h"
#include "state/state_store.h"
#include "telemetry/log.h"

namespace millrace {

struct DeliveryOptions {
  std::chrono::milliseconds hold = std::chrono::seconds(5);  // how long a delivery may wait for a slot
  std::uint64_t seed = std::random_device{}();               // of the jitter of retries
};

class DeliveryHandler {
 public:
  DeliveryHandler(EventLoop& loop, Admission& admission, Invoker& invoker, Finish& finish, StateStore& state,
                  RunTable& runs, DeliveryOptions options, Log& log);

  // From now on `circuits` hears what keeps runs from running, and which do.
  void report_to(Circuits& circuits) { circuits_ = &circuits; }

  // Settles `delivery`, which came from `topic`, exactly once: ack, nak with a delay, or term into the dead letters. On
  // `shutdown` the function is ended and the event given back.
  [[nodiscard]] Task<void> handle(std::shared_ptr<const FunctionSpec> function, std::string topic,
                                  std::unique_ptr<Delivery> delivery, std::stop_token shutdown);

 private:
  // The run a delivery is about: its generation, and for a redrive the row that stands already, if any.
  struct Standing {
    std::uint32_t generation = 0;
    RunId run_id;
    std::unique_ptr<RunTable::Active> active;  // null: another task of this process works on it
    bool cancelled = false;
    std::optional<RunRecord> record;
  };

  // What keeps an event from being done that is not its function's fault.
  struct Trouble {
    EventLoop::TimePoint since{};  // patience follows no clock that can jump
    std::uint32_t times = 0;       // in a row
  };

  // What is known once the broker has recorded that a run begins.
  struct Begun {
    std::optional<Counters> counters;       // nothing: it has not recorded it
    std::optional<Semaphore::Permit> room;  // in quarantine, until the run is over
  };

  Task<Result<Standing>> find_standing(const FunctionSpec& function, std::string topic, const Delivery& delivery);
  Task<void> run(Work work, Admission::Slot slot, Delivery& delivery, RunTable::Active& active,
                 std::stop_token shutdown);
  Task<Result<Counters>> begin(const FunctionSpec& function, Delivery& delivery, RunTable::Active& active,
                               Begun& begun);
  Task<void> after_error(Work work, Delivery& delivery, RunTable::Active& active, Error error);
  Task<void> give_up(Work work, Delivery& delivery, RunTable::Active& active, RunOutcome outcome, std::string reason);
  // True when the run is done with, false when it waits for its outputs to be placed.
  Task<bool> settle(const FunctionSpec& spec, Delivery& delivery, RunTable::Active& active, RunRecord record);
  [[nodiscard]] std::chrono::milliseconds in_trouble_for(const FunctionSpec& function, const Delivery& delivery) const;
  // The wait after one more trouble of this delivery's event.
  [[nodiscard]] std::chrono::milliseconds trouble_delay(const FunctionSpec& function, const Delivery& delivery,
                                                        const Error& error);
  void out_of_trouble(const FunctionSpec& function, const Delivery& delivery);
  void went_well(const FunctionSpec& function);
  void wait_again(RunTable::Active& active, const RunId& run_id, bool cancelled);
  Task<void> nak(Delivery& delivery, std::chrono::milliseconds delay, NakReason reason);

  EventLoop& loop_;
  Admission& admission_;
  Invoker& invoker_;
  Finish& finish_;
  StateStore& state_;
  RunTable& runs_;
  DeliveryOptions options_;
  Log& log_;
  Circuits* circuits_ = nullptr;
  Backoff backoff_;
  std::map<RunId, Trouble> troubled_;  // by the run of the event's own generation
  std::set<RunId> suspects_;           // by the same: they need room in quarantine before they begin
  Semaphore quarantine_;  // one suspect at a time: an event that may kill its worker must not take others along
};

}  // namespace millrace
