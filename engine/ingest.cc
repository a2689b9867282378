#include "engine/ingest.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "core/fail_point.h"
#include "formats/identity.h"

namespace millrace {

namespace {

LiveRun queued_run(const FunctionSpec& function, const Event& event, const RunId& run_id, WallTime now) {
  return {.run_id = run_id,
          .event_id = event.id,
          .function = function.name,
          .topic = work_topic(function.name),
          .key = event.object ? event.object->key : std::string(),
          .since = now,
          .queued_at = now};
}

Outgoing work_message(const FunctionSpec& function, Event event, const RunId& run_id, Sending sending) {
  Outgoing message{.id = work_message_id(run_id, 0), .event = std::move(event), .delay = sending.delay};
  if (function.ordered_by_key && message.event.object) message.key = message.event.object->key;
  message.priority = sending.priority;
  return message;
}

}  // namespace

std::string object_source(const ObjectRef& object) {
  return "/" + object.store + "/" + object.bucket;
}

EventId object_event_id(const ObjectRef& object) {
  return event_id(object_source(object), object_source_id(object));
}

Ingest::Ingest(EventLoop& loop, const Registry& registry, Broker& broker, SeenStore& seen, RunTable& runs,
               UlidMaker& ulids)
    : loop_(loop), registry_(registry), broker_(broker), seen_(seen), runs_(runs), ulids_(ulids) {}

void Ingest::stamp_root(Event& event) {
  const auto now = loop_.wall_now();
  if (event.source_id.empty()) event.source_id = ulids_.make(now);
  if (event.id.empty()) event.id = event_id(event.source, event.source_id);
  if (event.order.empty()) event.order = Order(ulids_.make(now));
  if (event.time == std::chrono::system_clock::time_point{}) event.time = now;
}

Task<Result<Accepted>> Ingest::object_created(ObjectRef object) {
  const auto triggers = registry_.match(object);
  auto missing = co_await unseen(triggers, object);
  if (!missing) co_return fail(missing.error());
  auto accepted = co_await object_created(std::move(object), std::move(*missing));
  if (!accepted) co_return fail(accepted.error());
  for (const auto& trigger : triggers) {
    const std::string& name = trigger.function->name;
    if (std::ranges::find(accepted->runs, name, &AcceptedRun::function) != accepted->runs.end()) continue;
    accepted->runs.push_back(
        {.function = name, .run_id = make_run_id(trigger.function->uid, accepted->event_id, 0), .duplicate = true});
  }
  co_return accepted;
}

Task<Result<std::vector<Trigger>>> Ingest::unseen(std::vector<Trigger> triggers, ObjectRef object) {
  const EventId id = object_event_id(object);
  std::vector<Trigger> missing;
  for (auto& trigger : triggers) {
    const auto row = co_await seen_.get(trigger.id, object.key);
    if (!row) co_return fail(row.error());
    if (!*row || **row != id) missing.push_back(std::move(trigger));
  }
  co_return missing;
}

Task<Result<Accepted>> Ingest::object_created(ObjectRef object, std::vector<Trigger> triggers) {
  Event event = root_event(object);
  if (triggers.empty()) co_return Accepted{.event_id = event.id, .runs = {}};

  std::vector<std::shared_ptr<const FunctionSpec>> functions;
  for (const auto& trigger : triggers) functions.push_back(trigger.function);
  const EventId id = event.id;
  auto accepted = co_await publish(std::move(event), std::move(functions));
  if (!accepted) co_return fail(accepted.error());
  const auto remembered = co_await remember(triggers, object.key, id);
  if (!remembered) co_return fail(remembered.error());
  MILLRACE_FAIL_POINT(after_seen);
  co_return accepted;
}

Event Ingest::root_event(ObjectRef object) {
  Event event;
  event.source = object_source(object);
  event.source_id = object_source_id(object);
  event.type = kObjectCreated;
  event.subject = object.key;
  event.object = std::move(object);
  stamp_root(event);
  return event;
}

Task<Result<Accepted>> Ingest::output_created(Event event) {
  const auto triggers = registry_.match(*event.object);
  if (triggers.empty()) co_return Accepted{.event_id = event.id, .runs = {}};
  std::vector<std::shared_ptr<const FunctionSpec>> functions;
  for (const auto& trigger : triggers) functions.push_back(trigger.function);
  auto accepted = co_await publish(std::move(event), std::move(functions));
  co_return accepted;
}

Task<Result<Accepted>> Ingest::invoke(std::string function, Event event, Sending sending) {
  const auto spec = registry_.find(function);
  if (!spec) co_return fail(Errc::not_found, "function '" + function + "' does not exist");
  stamp_root(event);
  auto accepted = co_await publish(std::move(event), {spec}, sending);
  co_return accepted;
}

Task<Result<Accepted>> Ingest::publish(Event event, std::vector<std::shared_ptr<const FunctionSpec>> functions,
                                       Sending sending) {
  Accepted accepted{.event_id = event.id, .runs = {}};
  for (const auto& function : functions) {
    const RunId run_id = make_run_id(function->uid, event.id, event.generation);
    std::vector<Outgoing> batch;
    batch.push_back(work_message(*function, event, run_id, sending));
    const bool first = runs_.queued(queued_run(*function, event, run_id, loop_.wall_now()));
    auto receipts = co_await broker_.publish(work_topic(function->name), std::move(batch));
    const auto& receipt = receipts.front();
    if (first && (!receipt || receipt->duplicate)) runs_.not_queued(run_id);
    if (!receipt) co_return fail(receipt.error().with("publish for function '" + function->name + "'"));
    MILLRACE_FAIL_POINT(after_publish_receipt);
    accepted.runs.push_back({.function = function->name, .run_id = run_id, .duplicate = receipt->duplicate});
  }
  co_return accepted;
}

Task<Result<std::vector<AcceptedRun>>> Ingest::publish_again(std::shared_ptr<const FunctionSpec> function,
                                                             std::vector<Event> events) {
  std::vector<AcceptedRun> runs;
  std::vector<bool> first;
  std::vector<Outgoing> batch;
  for (auto& event : events) {
    RunId run_id = make_run_id(function->uid, event.id, event.generation);
    first.push_back(runs_.queued(queued_run(*function, event, run_id, loop_.wall_now())));
    batch.push_back(work_message(*function, std::move(event), run_id, {}));
    runs.push_back({.function = function->name, .run_id = std::move(run_id)});
  }
  const auto receipts = co_await broker_.publish(work_topic(function->name), std::move(batch));
  std::optional<Error> trouble;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const auto& receipt = receipts[i];
    if (first[i] && (!receipt || receipt->duplicate)) runs_.not_queued(runs[i].run_id);
    if (receipt) {
      runs[i].duplicate = receipt->duplicate;
    } else if (!trouble) {
      trouble = receipt.error().with("publish for function '" + function->name + "'");
    }
  }
  if (trouble) co_return fail(*std::move(trouble));
  co_return runs;
}

Task<Result<void>> Ingest::remember(std::vector<Trigger> triggers, std::string key, EventId id) {
  for (const auto& trigger : triggers) {
    const auto stored = co_await seen_.put(trigger.id, {{key, id}});
    if (!stored) co_return fail(stored.error());
  }
  co_return Result<void>{};
}

}  // namespace millrace
