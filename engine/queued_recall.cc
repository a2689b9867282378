#include "engine/queued_recall.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/awaited_runs.h"
#include "formats/identity.h"

namespace millrace {
namespace {

constexpr std::size_t kPage = 200;

LiveRun live_run(const FunctionSpec& function, const std::string& topic, const WaitingMessage& message, RunId run_id) {
  const bool tried = message.counters.failures + message.counters.losses > 0;
  return {.run_id = std::move(run_id),
          .event_id = message.event.id,
          .function = function.name,
          .topic = topic,
          .key = message.event.object ? message.event.object->key : std::string(),
          .state = tried ? RunState::waiting_retry : RunState::queued,
          .since = message.published_at,
          .queued_at = message.published_at,
          .failures = message.counters.failures,
          .losses = message.counters.losses,
          .awaited = is_awaited(message.event)};
}

// In one step with the broker's answer: whatever takes one of them from now on finds it here. One that has its row
// already, cancelled while it was queued say, only waits to be settled.
Task<Result<void>> note(QueuedRecall parts, std::shared_ptr<const FunctionSpec> function, std::string topic,
                        std::vector<WaitingMessage> messages) {
  std::vector<RunId> noted;
  std::vector<WaitingMessage> redriven;
  for (auto& message : messages) {
    parts.ulids.start_after(message.event.order.str());
    if (message.redrives > 0) {
      redriven.push_back(std::move(message));
      continue;
    }
    const RunId run_id = make_run_id(function->uid, message.event.id, message.event.generation);
    if (parts.runs.queued(live_run(*function, topic, message, run_id))) noted.push_back(run_id);
  }
  for (const auto& message : redriven) {
    const auto run_id = co_await run_of(parts.state.runs(), *function, message);
    if (!run_id) co_return fail(run_id.error());
    if (parts.runs.queued(live_run(*function, topic, message, *run_id))) noted.push_back(*run_id);
  }
  for (const auto& run_id : noted) {
    const auto record = co_await parts.state.runs().get(run_id);
    if (!record) co_return fail(record.error());
    if (*record && !parts.runs.active(run_id)) parts.runs.forget(run_id);
  }
  co_return Result<void>{};
}

Task<Result<void>> recall_from(QueuedRecall parts, std::shared_ptr<const FunctionSpec> function, WorkPlace place,
                               std::size_t& left, std::stop_token stop) {
  std::string after;
  while (left > 0 && !stop.stop_requested()) {
    auto page = co_await parts.broker.waiting(place.topic, place.group, after, std::min(left, kPage));
    if (!page && page.error().code == Errc::not_found) co_return Result<void>{};  // not ready, or removed
    if (!page) co_return fail(page.error());
    if (page->empty()) co_return Result<void>{};
    after = page->back().position;
    left -= page->size();
    const auto noted = co_await note(parts, function, place.topic, std::move(*page));
    if (!noted) co_return noted;
  }
  co_return Result<void>{};
}

}  // namespace

Task<Result<RunId>> run_of(RunStore& runs, const FunctionSpec& function, const WaitingMessage& message) {
  std::uint32_t generation = message.event.generation;
  for (; generation - message.event.generation < message.redrives; ++generation) {
    const auto record = co_await runs.get(make_run_id(function.uid, message.event.id, generation));
    if (!record) co_return fail(record.error());
    if (!*record || (*record)->outcome != RunOutcome::dead_lettered) break;
  }
  co_return make_run_id(function.uid, message.event.id, generation);
}

Task<void> recall_queued(QueuedRecall parts, std::size_t max, std::stop_token stop) {
  if (!parts.broker.capabilities().lists_waiting) co_return;
  std::size_t left = max;
  for (const auto& function : parts.registry.all()) {
    for (const auto& place : work_places(*function)) {
      const auto recalled = co_await recall_from(parts, function, place, left, stop);
      if (recalled) continue;
      parts.log.warn("runs that were queued before this start are not all listed",
                     {{"function", function->name}, {"error", recalled.error()}});
    }
  }
}

}  // namespace millrace
