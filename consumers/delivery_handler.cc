#include "consumers/delivery_handler.h"

#include <algorithm>
#include <utility>

#include "async/sleep.h"
#include "consumers/lease_keeper.h"
#include "core/fail_point.h"
#include "engine/awaited_runs.h"
#include "engine/retry_policy.h"
#include "formats/identity.h"
#include "formats/topic_name.h"

namespace millrace {
namespace {

constexpr std::size_t kQuarantineRooms = 1;
constexpr std::size_t kTroubledMax = 10'000;  // beyond it some begin their patience anew
constexpr std::uint32_t kQuarantineFromLosses = 2;
constexpr std::chrono::milliseconds kOverloadDelay{200};
constexpr std::chrono::milliseconds kLostDelay{500};
constexpr std::chrono::milliseconds kQuarantineDelay{2000};

RunOutcome final_failure(const FunctionSpec& function) {
  return function.dead_letter ? RunOutcome::dead_lettered : RunOutcome::failed;
}

// The same over redrives, whose runs differ.
RunId trouble_key(const FunctionSpec& function, const Delivery& delivery) {
  return make_run_id(function.uid, delivery.event().id, delivery.event().generation);
}

std::uint32_t hops_max(const FunctionSpec& function) {
  return function.recursion_depth_max > 0 ? function.recursion_depth_max : kHopsMax;
}

}  // namespace

DeliveryHandler::DeliveryHandler(EventLoop& loop, Admission& admission, Invoker& invoker, Finish& finish,
                                 StateStore& state, RunTable& runs, DeliveryOptions options, Log& log)
    : loop_(loop),
      admission_(admission),
      invoker_(invoker),
      finish_(finish),
      state_(state),
      runs_(runs),
      options_(options),
      log_(log),
      backoff_(options.seed),
      quarantine_(loop, kQuarantineRooms) {}

Task<void> DeliveryHandler::handle(std::shared_ptr<const FunctionSpec> function, std::string topic,
                                   std::unique_ptr<Delivery> delivery, std::stop_token shutdown) {
  const LeaseKeeper lease(loop_, *delivery);  // a slot may take longer than the lease
  auto slot = co_await admission_.acquire(function, options_.hold, shutdown);
  if (!slot) {
    const bool stopping = shutdown.stop_requested();
    co_await nak(*delivery, stopping ? std::chrono::milliseconds(0) : kOverloadDelay,
                 stopping ? NakReason::shutdown : NakReason::overload);
    co_return;
  }
  MILLRACE_FAIL_POINT(after_receive);

  const bool of_users = is_user_topic_name(topic);
  auto standing = co_await find_standing(*function, std::move(topic), *delivery);
  if (!standing) {
    co_await nak(*delivery, trouble_delay(*function, *delivery, standing.error()), NakReason::infrastructure);
    co_return;
  }
  if (!standing->active) {  // redelivered although its owner lives, here
    co_await nak(*delivery, delivery->lease(), NakReason::infrastructure);
    co_return;
  }
  if (standing->record) {  // the function ran already: only what is not marked is left to do
    const bool done = co_await settle(*function, *delivery, *standing->active, std::move(*standing->record));
    if (done) went_well(*function);
    co_return;
  }
  Work work{.function = function,
            .event = delivery->event(),
            .run_id = standing->run_id,
            .generation = standing->generation,
            .counters = {},
            .queued_at = delivery->published_at(),
            .synchronous = is_awaited(delivery->event())};
  // On a work topic it is a node's own, which goes on strictly although its clock was set back by weeks.
  if (of_users || work.event.order.empty()) work.event.order = order_of(work.event, delivery->published_at());
  if (work.event.time == WallTime{}) work.event.time = delivery->published_at();
  if (standing->cancelled) {
    co_await give_up(std::move(work), *delivery, *standing->active, RunOutcome::cancelled, "cancelled while queued");
    co_return;
  }
  co_await run(std::move(work), std::move(*slot), *delivery, *standing->active, shutdown);
}

Task<Result<DeliveryHandler::Standing>> DeliveryHandler::find_standing(const FunctionSpec& function, std::string topic,
                                                                       const Delivery& delivery) {
  const Event& event = delivery.event();
  for (std::uint32_t generation = event.generation;; ++generation) {
    Standing standing;
    standing.generation = generation;
    standing.run_id = make_run_id(function.uid, event.id, generation);
    if (runs_.active(standing.run_id)) co_return standing;
    const auto now = loop_.wall_now();
    standing.cancelled = runs_.take_cancelled(standing.run_id);
    standing.active =
        std::make_unique<RunTable::Active>(runs_, LiveRun{.run_id = standing.run_id,
                                                          .event_id = event.id,
                                                          .function = function.name,
                                                          .topic = topic,
                                                          .key = event.object ? event.object->key : std::string(),
                                                          .state = RunState::admitted,
                                                          .since = now,
                                                          .queued_at = delivery.published_at(),
                                                          .awaited = is_awaited(event)});
    // Whether a row stands is told where an attempt begins. A redrive has to know before: it supersedes a failure by
    // the next generation, while a success whose outputs could not be placed goes on.
    if (generation - event.generation >= delivery.redrives()) co_return standing;
    auto record = co_await state_.runs().get(standing.run_id);
    if (!record) {
      wait_again(*standing.active, standing.run_id, standing.cancelled);
      co_return fail(record.error());
    }
    standing.record = std::move(*record);
    if (!standing.record || standing.record->outcome != RunOutcome::dead_lettered) co_return standing;
  }
}

Task<void> DeliveryHandler::run(Work work, Admission::Slot slot, Delivery& delivery, RunTable::Active& active,
                                std::stop_token shutdown) {
  const auto function = work.function;
  if (work.event.hops > hops_max(*work.function)) {
    co_await give_up(std::move(work), delivery, active, final_failure(*function),
                     "the event came through too many runs (hop limit): is a chain feeding itself?");
    co_return;
  }
  Begun begun;
  if (suspects_.contains(trouble_key(*function, delivery))) {
    begun.room = quarantine_.try_acquire(1);
    if (!begun.room) {
      active.waits_for_retry(loop_.wall_now());
      co_await nak(delivery, hinted_delay(backoff_, kQuarantineDelay), NakReason::infrastructure);
      co_return;
    }
  }
  const AnyStop stop(delivery.lease_lost(), shutdown);
  auto invoked =
      co_await invoker_.invoke(work, std::move(slot), active, begin(*function, delivery, active, begun), stop.token());
  if (!begun.counters) {
    const Error& error = invoked.error();
    // An owner that lives elsewhere is no trouble, however long it takes: its error says when to ask again.
    const auto delay = error.retry_after.count() > 0 ? hinted_delay(backoff_, error.retry_after)
                                                     : trouble_delay(*function, delivery, error);
    active.waits_for_retry(loop_.wall_now());
    co_await nak(delivery, delay, NakReason::infrastructure);
    co_return;
  }
  work.counters = *begun.counters;
  if (work.counters.losses >= function->max_losses) {
    const auto losses = std::to_string(work.counters.losses);
    co_await give_up(std::move(work), delivery, active, final_failure(*function),
                     "its worker went away " + losses + " times while it ran");
    co_return;
  }
  if (!invoked && stop.token().stop_requested()) {
    active.waits_for_retry(loop_.wall_now());
    co_await nak(delivery, std::chrono::milliseconds(0), NakReason::shutdown);
    co_return;
  }
  if (!invoked) {
    co_await after_error(std::move(work), delivery, active, std::move(invoked.error()));
    co_return;
  }
  if (invoked->committed) {
    const bool done = co_await settle(*function, delivery, active, std::move(*invoked->committed));
    if (done) went_well(*function);
    co_return;
  }
  out_of_trouble(*function, delivery);
  went_well(*function);
  active.waits_for_retry(loop_.wall_now());
  if (invoked->outcome == AttemptOutcome::lost) {
    co_await nak(delivery, kLostDelay, NakReason::lost);
    co_return;
  }
  const auto delay = retry_delay(backoff_, *work.function, work.counters.failures + 1);
  log_.info("attempt failed", {{"function", work.function->name},
                               {"run", work.run_id.str()},
                               {"outcome", name_of(invoked->outcome)},
                               {"why", invoked->message},
                               {"retry_in_ms", delay.count()}});
  co_await nak(delivery, delay, NakReason::failed);
}

// Beyond the counters: an event that was lost too often is not run, nor a suspect while another is. That one goes back
// at once: as long as it counted as begun, it would collect the losses that the other causes.
Task<Result<Counters>> DeliveryHandler::begin(const FunctionSpec& function, Delivery& delivery,
                                              RunTable::Active& active, Begun& begun) {
  const auto counters = co_await delivery.begin();
  if (!counters) co_return fail(counters.error());
  MILLRACE_FAIL_POINT(after_begin);
  if (counters->losses >= kQuarantineFromLosses && !begun.room) {
    if (suspects_.size() >= kTroubledMax) suspects_.erase(suspects_.begin());
    suspects_.insert(trouble_key(function, delivery));
    begun.room = quarantine_.try_acquire(1);
    if (!begun.room) {
      co_return fail(Error{.code = Errc::unavailable,
                           .message = "another run that may kill its worker is at work",
                           .retry_after = kQuarantineDelay});
    }
  }
  begun.counters = *counters;
  active.counters(counters->failures, counters->losses);
  if (counters->losses >= function.max_losses) co_return fail(Errc::aborted, "its worker went away too often");
  co_return *counters;
}

// Nothing is committed: give it back, or give it up when waiting cannot help.
Task<void> DeliveryHandler::after_error(Work work, Delivery& delivery, RunTable::Active& active, Error error) {
  const auto delay = trouble_delay(*work.function, delivery, error);
  const bool too_old = in_trouble_for(*work.function, delivery) > work.function->infrastructure_retry_for;
  if (is_permanent(error) || too_old) {
    const auto outcome = final_failure(*work.function);
    co_await give_up(std::move(work), delivery, active, outcome, std::move(error.message));
    co_return;
  }
  log_.warn("run postponed", {{"function", work.function->name}, {"run", work.run_id.str()}, {"error", error}});
  active.waits_for_retry(loop_.wall_now());
  co_await nak(delivery, delay, NakReason::infrastructure);
}

std::chrono::milliseconds DeliveryHandler::trouble_delay(const FunctionSpec& function, const Delivery& delivery,
                                                         const Error& error) {
  if (circuits_ != nullptr && !is_permanent(error)) circuits_->trouble(function.name, error);
  const RunId key = trouble_key(function, delivery);
  if (troubled_.size() >= kTroubledMax && !troubled_.contains(key)) troubled_.erase(troubled_.begin());
  Trouble& trouble = troubled_.try_emplace(key, Trouble{.since = loop_.now()}).first->second;
  return infrastructure_delay(backoff_, error, ++trouble.times);
}

// Since its first trouble here: how long it has queued before says nothing.
std::chrono::milliseconds DeliveryHandler::in_trouble_for(const FunctionSpec& function,
                                                          const Delivery& delivery) const {
  const auto found = troubled_.find(trouble_key(function, delivery));
  if (found == troubled_.end()) return std::chrono::milliseconds(0);
  return std::chrono::duration_cast<std::chrono::milliseconds>(loop_.now() - found->second.since);
}

void DeliveryHandler::out_of_trouble(const FunctionSpec& function, const Delivery& delivery) {
  if (!troubled_.empty()) troubled_.erase(trouble_key(function, delivery));
  if (!suspects_.empty()) suspects_.erase(trouble_key(function, delivery));
}

// Of a run that was executed, or whose outputs are placed by now: one that was given up says nothing of what works.
void DeliveryHandler::went_well(const FunctionSpec& function) {
  if (circuits_ != nullptr) circuits_->went_well(function);
}

// The end is committed before the dead letter, so that a worker that comes back from a pause cannot commit a success
// after it.
Task<void> DeliveryHandler::give_up(Work work, Delivery& delivery, RunTable::Active& active, RunOutcome outcome,
                                    std::string reason) {
  const auto function = work.function;
  const RunId run_id = work.run_id;
  auto record = co_await invoker_.commit_end(std::move(work), outcome, std::move(reason));
  if (!record) {
    wait_again(active, run_id, outcome == RunOutcome::cancelled);
    co_await nak(delivery, trouble_delay(*function, delivery, record.error()), NakReason::infrastructure);
    co_return;
  }
  [[maybe_unused]] const bool done = co_await settle(*function, delivery, active, std::move(*record));
}

// A cancelling that could not be carried out is not forgotten.
void DeliveryHandler::wait_again(RunTable::Active& active, const RunId& run_id, bool cancelled) {
  if (cancelled) (void)runs_.cancel(run_id);
  active.waits_for_retry(loop_.wall_now());
}

// The committed row says what must appear; a crash anywhere below repeats only what is not marked.
Task<bool> DeliveryHandler::settle(const FunctionSpec& spec, Delivery& delivery, RunTable::Active& active,
                                   RunRecord record) {
  active.state(RunState::placing, loop_.wall_now());
  active.ended(RunEnd::of(record));
  const RunId run_id = record.run_id;
  const RunOutcome outcome = record.outcome;
  const std::string reason = record.reason;
  const std::string function = record.function;
  const Counters counters{.failures = record.failures, .losses = record.losses};
  const bool too_old = in_trouble_for(spec, delivery) > spec.infrastructure_retry_for;
  const auto finished = co_await finish_.place_and_publish(std::move(record));
  if (!finished && !is_permanent(finished.error()) && !too_old) {
    log_.warn("run not finished yet", {{"run", run_id.str()}, {"error", finished.error()}});
    active.waits_for_retry(loop_.wall_now());
    co_await nak(delivery, trouble_delay(spec, delivery, finished.error()), NakReason::infrastructure);
    co_return false;
  }
  out_of_trouble(spec, delivery);
  Result<void> settled;
  if (!finished) {
    settled = co_await delivery.term(finished.error().message, counters);
  } else if (outcome == RunOutcome::dead_lettered) {
    log_.warn("run given up, its event is a dead letter",
              {{"function", function}, {"run", run_id.str()}, {"reason", reason}});
    settled = co_await delivery.term(reason, counters);
    MILLRACE_FAIL_POINT(after_dead_letter);
  } else {
    settled = co_await delivery.ack();
    MILLRACE_FAIL_POINT(after_ack);
  }
  if (!settled) log_.warn("verdict refused", {{"run", run_id.str()}, {"error", settled.error()}});
  log_.debug("run done", {{"function", function}, {"run", run_id.str()}, {"outcome", name_of(outcome)}});
  co_return true;
}

Task<void> DeliveryHandler::nak(Delivery& delivery, std::chrono::milliseconds delay, NakReason reason) {
  const auto settled = co_await delivery.nak(delay, reason);
  MILLRACE_FAIL_POINT(after_nak);
  // A lost lease is the usual cause: the message is somebody else's already.
  if (!settled) log_.debug("nak refused", {{"error", settled.error()}});
}

}  // namespace millrace
