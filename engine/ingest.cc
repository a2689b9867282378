#include "engine/ingest.h"

#include <algorithm>
#include <utility>

#include "formats/identity.h"

namespace millrace {

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
  Event event;
  event.source = object_source(object);
  event.source_id = object_source_id(object);
  event.type = kObjectCreated;
  event.subject = object.key;
  event.object = object;
  stamp_root(event);
  if (triggers.empty()) co_return Accepted{.event_id = event.id, .runs = {}};

  std::vector<std::shared_ptr<const FunctionSpec>> functions;
  for (const auto& trigger : triggers) functions.push_back(trigger.function);
  const EventId id = event.id;
  auto accepted = co_await publish(std::move(event), std::move(functions));
  if (!accepted) co_return fail(accepted.error());
  const auto remembered = co_await remember(triggers, object.key, id);
  if (!remembered) co_return fail(remembered.error());
  co_return accepted;
}

Task<Result<Accepted>> Ingest::output_created(Event event) {
  const auto triggers = registry_.match(*event.object);
  if (triggers.empty()) co_return Accepted{.event_id = event.id, .runs = {}};
  std::vector<std::shared_ptr<const FunctionSpec>> functions;
  for (const auto& trigger : triggers) functions.push_back(trigger.function);
  auto accepted = co_await publish(std::move(event), std::move(functions));
  co_return accepted;
}

Task<Result<Accepted>> Ingest::invoke(std::string function, Event event) {
  const auto spec = registry_.find(function);
  if (!spec) co_return fail(Errc::not_found, "function '" + function + "' does not exist");
  stamp_root(event);
  auto accepted = co_await publish(std::move(event), {spec});
  co_return accepted;
}

Task<Result<Accepted>> Ingest::publish(Event event, std::vector<std::shared_ptr<const FunctionSpec>> functions) {
  Accepted accepted{.event_id = event.id, .runs = {}};
  for (const auto& function : functions) {
    const RunId run_id = make_run_id(function->uid, event.id, event.generation);
    std::vector<Outgoing> batch;
    batch.push_back({.id = work_message_id(run_id, 0), .event = event});
    auto receipts = co_await broker_.publish(work_topic(function->name), std::move(batch));
    const auto& receipt = receipts.front();
    if (!receipt) co_return fail(receipt.error().with("publish for function '" + function->name + "'"));
    if (!receipt->duplicate) {
      const auto now = loop_.wall_now();
      runs_.queued({.run_id = run_id,
                    .event_id = event.id,
                    .function = function->name,
                    .key = event.object ? event.object->key : std::string(),
                    .since = now,
                    .queued_at = now});
    }
    accepted.runs.push_back({.function = function->name, .run_id = run_id, .duplicate = receipt->duplicate});
  }
  co_return accepted;
}

Task<Result<void>> Ingest::remember(std::vector<Trigger> triggers, std::string key, EventId id) {
  for (const auto& trigger : triggers) {
    const auto stored = co_await seen_.put(trigger.id, {{key, id}});
    if (!stored) co_return fail(stored.error());
  }
  co_return Result<void>{};
}

}  // namespace millrace
