#include "engine/finish.h"

#include <algorithm>
#include <utility>

#include "core/fail_point.h"
#include "formats/identity.h"

namespace millrace {

AttemptPlace attempt_place(const FunctionSpec& function, RunId run_id, AttemptToken token) {
  const std::string bucket =
      function.outputs.empty() ? std::string() : std::string(function.outputs.front().storage.bucket());
  return {.bucket = bucket, .run_id = std::move(run_id), .token = std::move(token)};
}

AttemptPlace attempt_place(const RunRecord& record) {
  // Private paths start with the bucket that holds the attempt, or with ".millrace" in the store's own root.
  std::string bucket;
  const auto stored = std::ranges::find_if(record.outputs, [](const auto& each) { return !each.private_path.empty(); });
  if (stored != record.outputs.end()) {
    bucket = stored->private_path.substr(0, stored->private_path.find('/'));
    if (bucket == ".millrace") bucket.clear();
  }
  return {.bucket = std::move(bucket), .run_id = record.run_id, .token = record.token};
}

OutputRank output_rank(const Order& order, std::uint32_t generation, const EventId& event_id, const RunId& run_id) {
  return {.order = order, .generation = generation, .event_id = event_id, .run_id = run_id};
}

Event output_event(const RunRecord& record, std::uint32_t index) {
  const OutputFile& output = record.outputs.at(index);
  Event event;
  event.source = "/run/" + record.function;
  event.source_id = output_source_id(record.run_id, index);
  event.id = EventId(event.source_id);
  event.type = kObjectCreated;
  event.subject = output.key;
  event.time = record.committed_at;
  event.order = record.order;
  event.hops = record.hops + 1;
  event.cause = record.run_id;
  event.object = ObjectRef{.store = output.store,
                           .bucket = output.bucket,
                           .key = output.key,
                           .version = output.version,
                           .private_path = output.private_path};
  return event;
}

Finish::Finish(OutputStore& outputs, StateStore& state, Ingest& ingest, const Registry& registry)
    : outputs_(outputs), state_(state), ingest_(ingest), registry_(registry) {}

Task<Result<void>> Finish::place_and_publish(RunRecord record) {
  RunMarks marks;
  if (!record.placed) {
    const auto placed = co_await place(record);
    if (!placed) co_return fail(placed.error());
    marks.placed = true;
    MILLRACE_FAIL_POINT(after_place);
  }
  Result<void> published;
  if (!record.published) {
    published = co_await publish(record, marks.seen);
    marks.published = published.has_value();
    MILLRACE_FAIL_POINT(after_publish);
  }
  // One write for both: what a crash before it repeats is the same names and the same event ids.
  if (marks.placed || marks.published) {
    const auto marked = co_await state_.runs().mark(record.run_id, marks);
    if (!marked) co_return fail(marked.error());
    MILLRACE_FAIL_POINT(after_mark);
  }
  co_return published;
}

Task<Result<void>> Finish::place(const RunRecord& record) {
  const OutputRank rank = output_rank(record.order, record.generation, record.event_id, record.run_id);
  std::vector<OutputFile> files;
  for (const auto& output : record.outputs) {
    if (output.is_event()) continue;
    placed_names_.remember(output.bucket, output.key, output.placed);
    files.push_back(output);
  }
  const auto placed = co_await outputs_.place(std::move(files), rank);
  if (!placed) co_return fail(placed.error().with("cannot_place"));
  co_return Result<void>{};
}

Task<Result<void>> Finish::publish(const RunRecord& record, SeenRows& seen) {
  for (std::uint32_t index = 0; index < record.outputs.size(); ++index) {
    const OutputFile& output = record.outputs[index];
    if (output.is_event()) continue;
    const auto accepted = co_await ingest_.output_created(output_event(record, index));
    if (!accepted) co_return fail(accepted.error());
    MILLRACE_FAIL_POINT(after_publish_one);

    // What a scan would find under the user's name is known already: without these rows it would be taken for new.
    const ObjectRef placed{.store = output.store,
                           .bucket = output.bucket,
                           .key = output.key,
                           .version = output.placed,
                           .private_path = {}};
    for (const auto& trigger : registry_.match(placed)) {
      seen[trigger.id].insert_or_assign(placed.key, object_event_id(placed));
    }
  }
  const bool has_events = std::ranges::any_of(record.outputs, &OutputFile::is_event);
  if (!has_events) co_return Result<void>{};
  if (events_ == nullptr) co_return fail(Errc::unimplemented, "results for topics are not published here");
  auto published = co_await events_->publish(record);
  co_return published;
}

}  // namespace millrace
