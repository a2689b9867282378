#include "engine/replay.h"

#include <algorithm>
#include <utility>

#include "engine/finish.h"
#include "formats/identity.h"

namespace millrace {
namespace {

constexpr std::size_t kPage = 1'000;  // objects listed at a time, and at most so many events in one publish
constexpr std::uint32_t kGenerationsMax = 1'000'000;

bool is_output(const OutputFile& output, const ObjectRef& object) {
  return output.bucket == object.bucket && output.key == object.key && output.placed == object.version;
}

}  // namespace

Replay::Replay(EventLoop& loop, const Registry& registry, Ingest& ingest, ObjectStore& objects, OutputStore& outputs,
               StateStore& state, const RunTable& runs, UlidMaker& ulids)
    : loop_(loop),
      registry_(registry),
      ingest_(ingest),
      objects_(objects),
      outputs_(outputs),
      records_(state.runs()),
      seen_(state.seen()),
      runs_(runs),
      ulids_(ulids),
      turn_(loop, 1) {}

Task<Result<Replayed>> Replay::objects(std::string function, Which which, std::stop_token stop) {
  const auto spec = registry_.find(function);
  if (!spec) co_return fail(Errc::not_found, "function '" + function + "' does not exist");
  if (spec->inputs.empty()) {
    co_return fail(Errc::failed_precondition,
                   "function '" + function + "' has no inputs: there are no objects to replay");
  }
  const auto turn = co_await turn_.acquire(1, stop);
  if (!turn) co_return fail(turn.error());
  maker_.reset();
  Replayed replayed;
  for (auto& trigger : triggers_of(spec)) {
    const auto done = co_await replay_input(std::move(trigger), which, stop, replayed);
    if (!done) co_return fail(done.error());
  }
  co_return replayed;
}

Task<Result<void>> Replay::replay_input(Trigger trigger, Which which, std::stop_token stop, Replayed& replayed) {
  const auto rows = co_await seen_.all(trigger.id);
  if (!rows) co_return fail(rows.error());
  const std::string bucket(trigger.path.bucket());
  std::string after;
  for (bool more = true; more;) {
    if (stop.stop_requested()) co_return fail(Errc::cancelled, "cancelled");
    const auto listing = co_await objects_.list(bucket, trigger.path.folder(), after, kPage);
    if (!listing) co_return fail(listing.error());
    std::vector<Event> events;
    for (const auto& info : listing->objects) {
      ObjectRef object{.bucket = bucket, .key = info.key, .version = info.version, .private_path = {}};
      const auto matches = registry_.match(object);
      // Of an object below two inputs of one function only one counts, as when it appears.
      if (std::ranges::find(matches, trigger.id, &Trigger::id) == matches.end()) continue;
      const auto row = rows->find(info.key);
      if (row == rows->end() || row->second != object_event_id(object)) {
        ++replayed.news;  // it may be half written: whoever watches the input decides
        continue;
      }
      auto due = co_await look_at(trigger, std::move(object), which);
      if (!due) co_return fail(due.error());
      if (due->known) ++replayed.known;
      if (due->event) events.push_back(std::move(*due->event));
    }
    more = listing->truncated && !listing->objects.empty();
    if (more) after = listing->objects.back().key;
    const auto published = co_await publish(trigger.function, std::move(events), replayed);
    if (!published) co_return fail(published.error());
  }
  co_return Result<void>{};
}

Task<Result<void>> Replay::publish(std::shared_ptr<const FunctionSpec> function, std::vector<Event> events,
                                   Replayed& replayed) {
  if (events.empty()) co_return Result<void>{};
  const auto runs = co_await ingest_.publish_again(std::move(function), std::move(events));
  if (!runs) co_return fail(runs.error());
  for (const auto& run : *runs) ++(run.duplicate ? replayed.known : replayed.published);
  co_return Result<void>{};
}

Task<Result<Replay::Due>> Replay::look_at(const Trigger& trigger, ObjectRef object, Which which) {
  auto event = co_await event_of(std::move(object));
  if (!event && event.error().code == Errc::not_found) co_return Due{};  // removed or replaced since it was listed
  if (!event) co_return fail(event.error());
  const FunctionSpec& function = *trigger.function;
  for (std::uint32_t generation = 0; generation < kGenerationsMax; ++generation) {
    const auto there = co_await has_run(function, event->id, generation);
    if (!there) co_return fail(there.error());
    const bool going_on = *there && runs_.find(make_run_id(function.uid, event->id, generation)).has_value();
    if (*there && (which == Which::without_a_run || going_on)) co_return Due{.event = {}, .known = true};
    if (*there) continue;
    event->generation = generation;
    if (generation > 0) event->order = Order(ulids_.make(loop_.wall_now()));
    co_return Due{.event = std::move(*event), .known = false};
  }
  co_return Due{.event = {}, .known = true};
}

// Of an output that a run of ours placed it is the event that was published about it. The bytes are those under the
// user's name in any case: a private copy may have been freed.
Task<Result<Event>> Replay::event_of(ObjectRef object) {
  const auto mark = co_await outputs_.mark_of(object);
  if (!mark) co_return fail(mark.error());
  if (*mark) {
    const auto record = co_await maker((*mark)->run_id);
    if (!record) co_return fail(record.error());
    if (*record != nullptr) {
      const auto& outputs = (*record)->outputs;
      const auto found =
          std::ranges::find_if(outputs, [&](const OutputFile& output) { return is_output(output, object); });
      if (found != outputs.end()) {
        Event event = output_event(**record, static_cast<std::uint32_t>(found - outputs.begin()));
        event.object = std::move(object);
        co_return event;
      }
    }
  }
  co_return ingest_.root_event(std::move(object));
}

Task<Result<const RunRecord*>> Replay::maker(RunId run_id) {
  if (!maker_ || maker_->run_id != run_id) {
    auto record = co_await records_.get(std::move(run_id));
    if (!record) co_return fail(record.error());
    maker_ = std::move(*record);
  }
  co_return maker_ ? &*maker_ : nullptr;
}

Task<Result<bool>> Replay::has_run(const FunctionSpec& function, EventId event_id, std::uint32_t generation) {
  const RunId run_id = make_run_id(function.uid, event_id, generation);
  if (runs_.find(run_id)) co_return true;
  const auto record = co_await records_.get(run_id);
  if (!record) co_return fail(record.error());
  co_return record->has_value();
}

}  // namespace millrace
