#include "engine/awaited_runs.h"

#include <algorithm>
#include <utility>

#include "async/sleep.h"

namespace millrace {
namespace {

constexpr std::chrono::milliseconds kLook{500};
constexpr std::chrono::seconds kPlacingPatience{5};  // for outputs of a run that is over
constexpr std::chrono::seconds kMargin{10};          // for what lies between a slot and the row, besides the function

}  // namespace

bool is_awaited(const Event& event) {
  return std::ranges::any_of(event.extensions,
                             [](const auto& attribute) { return attribute.first == kAwaitedAttribute; });
}

AwaitedRuns::AwaitedRuns(EventLoop& loop, StateStore& state, Ingest& ingest, Nodes& nodes, Log& log)
    : loop_(loop), state_(state), ingest_(ingest), nodes_(nodes), log_(log), announcements_(loop) {}

Task<Result<RunRecord>> AwaitedRuns::call(std::shared_ptr<const FunctionSpec> function, Event event, RunId run_id,
                                          EventLoop::Duration hold, std::stop_token stop) {
  const auto living = co_await nodes_.living();
  if (!living) co_return fail(living.error());
  if (!living->workers) {
    co_return fail(Errc::unavailable, "no live node runs functions: start one with `millrace worker`");
  }
  if (!is_awaited(event)) event.extensions.emplace_back(kAwaitedAttribute, "1");
  const auto accepted = co_await ingest_.invoke(function->name, std::move(event));
  if (!accepted) co_return fail(accepted.error());
  const auto patience = hold + function->timeout + function->grace + kMargin;
  auto record = co_await await_row(run_id, patience, stop);
  if (!record && stop.stop_requested()) co_await announce({.kind = Notice::Kind::cancel, .run_id = run_id});
  co_return record;
}

Task<Result<RunRecord>> AwaitedRuns::await_row(RunId run_id, EventLoop::Duration patience, std::stop_token stop) {
  const Deadline deadline(loop_, patience, stop);
  std::optional<EventLoop::TimePoint> over_since;
  for (;;) {
    // Waited for before it is looked at: what is told in between wakes at once.
    const auto waiter = waiting_.emplace(run_id, std::stop_source());
    const AnyStop wake(deadline.token(), waiter->second.get_token());
    auto found = co_await state_.runs().get(run_id);
    const bool over = found && *found;
    if (over && !over_since) over_since = loop_.now();
    const bool placed = over && (*found)->placed && (*found)->published;
    if (placed || (over && loop_.now() - *over_since >= kPlacingPatience)) {
      waiting_.erase(waiter);
      co_return std::move(**found);
    }
    if (deadline.token().stop_requested()) {
      waiting_.erase(waiter);
      if (stop.stop_requested()) co_return fail(Errc::cancelled, "the caller has left");
      co_return fail(Errc::deadline_exceeded, "run " + run_id.str() + " has not ended in time; it may still happen");
    }
    // Either it is time to look, or somebody told something, or nobody waits any more.
    [[maybe_unused]] const auto slept = co_await sleep_for(loop_, kLook, wake.token());
    waiting_.erase(waiter);
  }
}

void AwaitedRuns::ended(const RunId& run_id) {
  const auto [first, last] = waiting_.equal_range(run_id);
  for (auto waiter = first; waiter != last; ++waiter) waiter->second.request_stop();
}

void AwaitedRuns::look_at_all() {
  for (auto& [run_id, waiter] : waiting_) waiter.request_stop();
}

void AwaitedRuns::run_changed(const LiveRun& /*run*/) {}

void AwaitedRuns::run_ended(const LiveRun& run, const RunEnd& /*end*/) {
  if (run.awaited) announcements_.spawn(announce({.kind = Notice::Kind::run_ended, .run_id = run.run_id}));
}

// What fails here is found by looking.
Task<void> AwaitedRuns::announce(Notice notice) {
  const auto told = co_await nodes_.announce(std::move(notice));
  if (!told) log_.debug("other nodes not told", {{"error", told.error()}});
}

}  // namespace millrace
