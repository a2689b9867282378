#include "engine/synchronous.h"

#include <utility>

#include "formats/identity.h"

namespace millrace {
namespace {

// A call is no message of the broker's: nothing counts against it.
Task<Result<Counters>> nothing_to_begin() {
  co_return Counters{};
}

}  // namespace

SynchronousCalls::SynchronousCalls(EventLoop& loop, const Registry& registry, Ingest& ingest, Admission& admission,
                                   Invoker& invoker, Finish& finish, StateStore& state, RunTable& runs)
    : loop_(loop),
      registry_(registry),
      ingest_(ingest),
      admission_(admission),
      invoker_(invoker),
      finish_(finish),
      state_(state),
      runs_(runs) {}

Task<Result<RunRecord>> SynchronousCalls::call(std::string function, Event event, EventLoop::Duration hold,
                                               std::stop_token stop) {
  const auto spec = registry_.find(function);
  if (!spec) co_return fail(Errc::not_found, "function '" + function + "' does not exist");
  ingest_.stamp_root(event);
  const RunId run_id = make_run_id(spec->uid, event.id, event.generation);

  auto standing = co_await state_.runs().get(run_id);
  if (!standing) co_return fail(standing.error());
  if (*standing) co_return std::move(**standing);
  if (awaited_ != nullptr) {
    auto record = co_await awaited_->call(spec, std::move(event), run_id, hold, stop);
    co_return record;
  }
  if (runs_.active(run_id)) co_return fail(Errc::already_exists, "this call is running already");

  const auto now = loop_.wall_now();
  RunTable::Active active(runs_, {.run_id = run_id,
                                  .event_id = event.id,
                                  .function = function,
                                  .key = {},
                                  .state = RunState::queued,
                                  .since = now,
                                  .queued_at = now});
  // A caller who leaves cancels the run.
  const std::stop_callback on_leave(stop, [this, run_id] { (void)runs_.cancel(run_id); });
  auto slot = co_await admission_.acquire(spec, hold, active.cancel_requested());
  if (!slot) co_return fail(slot.error());
  const std::uint32_t generation = event.generation;
  Work work{.function = spec,
            .event = std::move(event),
            .run_id = run_id,
            .generation = generation,
            .counters = {},
            .queued_at = now,
            .synchronous = true};
  auto invoked = co_await invoker_.invoke(std::move(work), std::move(*slot), active, nothing_to_begin(), {});
  if (!invoked) co_return fail(invoked.error());
  active.state(RunState::placing, loop_.wall_now());
  RunRecord record = std::move(*invoked->committed);  // of a synchronous run's one attempt, whatever its end
  active.ended(RunEnd::of(record));
  const auto finished = co_await finish_.place_and_publish(record);
  // The row stands and the sweeper goes on with it; the caller's answer is the outcome of the run.
  if (!finished && !retryable(finished.error().code)) record.reason = finished.error().message;
  co_return record;
}

}  // namespace millrace
