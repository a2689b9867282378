#include "gateway/live_why.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "core/units.h"
#include "engine/queued_recall.h"
#include "engine/user_topics.h"
#include "formats/identity.h"
#include "formats/timestamp.h"
#include "gateway/run_json.h"

namespace millrace {
namespace {

constexpr std::size_t kSearchedMax = 1'000;  // messages of a topic, for one that waits
constexpr std::size_t kPage = 200;

using Spec = std::shared_ptr<const FunctionSpec>;

struct Found {
  WaitingMessage message;
  std::size_t before = 0;  // in its group
};

// The message that a run waits with; nothing where the broker does not tell, or it stands too far behind.
Task<std::optional<Found>> find_message(Services& services, LiveRun run, Spec function) {
  if (!services.broker.capabilities().lists_waiting) co_return std::nullopt;
  const bool own = run.topic.empty() || run.topic == work_topic(function->name);
  const std::string topic = own ? work_topic(function->name) : run.topic;
  const std::string group = own ? std::string(kWorkersGroup) : function_group(function->name);
  std::string after;
  for (std::size_t before = 0; before < kSearchedMax;) {
    auto page = co_await services.broker.waiting(topic, group, after, kPage);
    if (!page || page->empty()) co_return std::nullopt;
    after = page->back().position;
    for (auto& message : *page) {
      if (message.event.id == run.event_id) co_return Found{.message = std::move(message), .before = before};
      ++before;
    }
  }
  co_return std::nullopt;
}

std::string seconds_text(std::chrono::milliseconds span) {
  return format_duration(std::chrono::ceil<std::chrono::seconds>(span));
}

void add_message_reasons(const std::optional<Found>& found, const LiveRun& run, std::vector<std::string>& reasons) {
  if (!found) return;
  if (found->message.due_in && found->message.due_in->count() > 0) {
    reasons.push_back((run.failures + run.losses > 0 ? "the pause before its next attempt: " : "its delay: ") +
                      seconds_text(*found->message.due_in));
  }
  if (found->message.blocked) {
    reasons.push_back("an earlier event of its key '" + run.key + "' that is not done (order: key)");
  }
}

void add_room_reasons(Services& services, const FunctionSpec& function, std::vector<std::string>& reasons) {
  if (services.admission.at_own_limit(function)) {
    reasons.push_back("a slot: all " + std::to_string(function.concurrency) +
                      " of its function are in use (concurrency)");
  } else if (services.admission.room(function) == 0) {
    const NodeBudget free = services.admission.free();
    reasons.push_back("room on this node: it wants " + format_bytes(function.memory_bytes) + " of memory and " +
                      format_millicores(function.cpu_millicores) + " of cpu, free are " +
                      format_bytes(free.memory_bytes) + " and " + format_millicores(free.cpu_millicores));
  }
}

// What is known to keep a run from its next attempt; of several nodes what keeps it from this one.
Task<std::vector<std::string>> what_it_waits_for(Services& services, LiveRun run, Spec function) {
  std::vector<std::string> reasons;
  if (const auto unready = services.registry.unready(function->name)) {
    reasons.push_back("its function, which is not ready: " + unready->message);
  }
  for (const auto& trouble : services.health.troubles()) reasons.push_back(trouble.what + ": " + trouble.reason);
  const auto living = co_await services.nodes.living();
  if (living && services.nodes.shared() && !living->workers) reasons.emplace_back("a node with the role worker");
  if (const auto resting = services.circuits.resting(*function)) {
    reasons.push_back("the " + resting->what + ", which rests after errors in a row, the last: " + resting->reason +
                      "; next try in " + seconds_text(resting->next_try));
  }
  const auto found = co_await find_message(services, run, function);
  add_message_reasons(found, run, reasons);
  if (reasons.empty()) add_room_reasons(services, *function, reasons);
  if (found && found->before > 0) {
    reasons.push_back("its turn: of its function " + std::to_string(found->before) + " came before it");
  }
  co_return reasons;
}

Json limits_json(const FunctionSpec& function) {
  return Json::object({{"timeout_ms", function.timeout.count()},
                       {"memory_bytes", function.memory_bytes},
                       {"cpu_millicores", function.cpu_millicores},
                       {"retries", function.retries}});
}

const Attempt* open_attempt(const std::vector<Attempt>& attempts) {
  const auto found = std::ranges::find_if(attempts, [](const Attempt& attempt) { return !attempt.outcome; });
  return found == attempts.end() ? nullptr : &*found;
}

Json attempt_json(const std::vector<Attempt>& attempts, const Attempt& attempt, const Spec& function) {
  const auto number = static_cast<std::uint64_t>(&attempt - attempts.data()) + 1;
  Json json =
      Json::object({{"attempt", number}, {"node", attempt.node}, {"since", format_timestamp(attempt.started_at)}});
  if (!function) return json;
  json.set("ends_by", format_timestamp(attempt.started_at + function->timeout + function->grace));
  json.set("limits", limits_json(*function));
  return json;
}

Task<Result<std::optional<Json>>> what_a_run_does(Services& services, RunId run_id) {
  auto live = services.runs.find(run_id);
  const auto attempts = co_await services.state.runs().attempts(run_id);
  if (!attempts) co_return fail(attempts.error());
  const Attempt* open = open_attempt(*attempts);
  if (!live && open == nullptr) co_return std::nullopt;
  Json json = live ? live_json(*live) : Json::object({{"run_id", run_id.str()}});
  const Spec function = live ? services.registry.find(live->function) : nullptr;
  if (open != nullptr) {
    // What another node has in hand is queued as far as this one was told.
    if (!live || live->state == RunState::queued) json.set("state", name_of(RunState::running));
    json.set("doing", attempt_json(*attempts, *open, function));
  } else if (live && !services.runs.active(run_id)) {
    std::vector<std::string> reasons{"its function, which was removed"};
    if (function) reasons = co_await what_it_waits_for(services, *live, function);
    json.set("waits_for", Json::Array(reasons.begin(), reasons.end()));
  }
  json.set("attempts", failed_attempts_json(*attempts));
  co_return json;
}

}  // namespace

Json failed_attempts_json(const std::vector<Attempt>& attempts) {
  Json list = Json::array();
  for (const auto& attempt : attempts) {
    if (!attempt.outcome || *attempt.outcome == AttemptOutcome::succeeded) continue;
    list.append(Json::object({{"attempt", static_cast<std::uint64_t>(&attempt - attempts.data()) + 1},
                              {"node", attempt.node},
                              {"started_at", format_timestamp(attempt.started_at)},
                              {"outcome", name_of(*attempt.outcome)},
                              {"exit_code", attempt.exit_code},
                              {"signal", attempt.signal},
                              {"message", attempt.message}}));
  }
  return list;
}

Task<Result<std::vector<Json>>> what_goes_on(Services& services, std::string id) {
  std::vector<RunId> run_ids{RunId(id)};
  for (const auto& function : services.registry.all()) {
    RunId run_id = make_run_id(function->uid, EventId(id), 0);
    if (services.runs.find(run_id)) run_ids.push_back(std::move(run_id));
  }
  std::vector<Json> found;
  for (const auto& run_id : run_ids) {
    const auto record = co_await services.state.runs().get(run_id);
    if (!record) co_return fail(record.error());
    if (*record) continue;
    auto json = co_await what_a_run_does(services, run_id);
    if (!json) co_return fail(json.error());
    if (*json) found.push_back(std::move(**json));
  }
  co_return found;
}

}  // namespace millrace
