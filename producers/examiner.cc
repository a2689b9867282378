#include "producers/examiner.h"

#include <algorithm>
#include <utility>

namespace millrace {
namespace {

std::chrono::milliseconds settle_time(const std::vector<Trigger>& triggers, WriteState state) {
  auto longest = state == WriteState::unknown ? kBlindSettle : std::chrono::milliseconds(0);
  for (const auto& trigger : triggers) longest = std::max(longest, trigger.function->settle);
  return longest;
}

// Nothing when `version` has been there for `time`; else the verdict that waits for it.
std::optional<Verdict> still_settling(const std::optional<Settling>& before, const ObjectVersion& version,
                                      EventLoop::Duration time, EventLoop::TimePoint now) {
  if (time <= EventLoop::Duration(0)) return std::nullopt;
  if (!before || before->version != version) {
    return Verdict{.kind = Verdict::Kind::settling,
                   .wait = time,
                   .settling = Settling{.version = version, .since = now},
                   .changed = before.has_value(),
                   .error = {}};
  }
  const EventLoop::Duration left = before->since + time - now;
  if (left <= EventLoop::Duration(0)) return std::nullopt;
  return Verdict{.kind = Verdict::Kind::settling, .wait = left, .settling = before, .changed = false, .error = {}};
}

}  // namespace

Examiner::Examiner(EventLoop& loop, const Registry& registry, ObjectStore& objects, WriteCheck& checks,
                   const PlacedNames& placed, OwnOutputs& own, SeenStore& seen, Ingest& ingest, Log& log)
    : loop_(loop),
      registry_(registry),
      objects_(objects),
      checks_(checks),
      placed_(placed),
      own_(own),
      seen_(seen),
      ingest_(ingest),
      log_(log) {}

Task<Verdict> Examiner::examine(ObjectName name, std::optional<Settling> settling) {
  ObjectRef object{.bucket = name.bucket, .key = name.key, .version = {}, .private_path = {}};
  auto triggers = registry_.match(object);
  if (triggers.empty()) co_return Verdict{};
  const bool ours = co_await was_just_placed(name);
  if (ours) co_return Verdict{};

  const auto found = co_await probe(objects_, checks_, object);
  if (!found) co_return trouble(name, found.error());
  object.version = found->version;
  auto news = co_await news_for(std::move(triggers), object);
  if (!news) co_return trouble(name, news.error());
  if (news->empty()) co_return Verdict{};

  if (found->state == WriteState::open_for_writing) {
    co_return Verdict{.kind = Verdict::Kind::writer, .settling = {}, .error = {}};
  }
  auto unsettled = still_settling(settling, object.version, settle_time(*news, found->state), loop_.now());
  if (unsettled) co_return std::move(*unsettled);

  const auto accepted = co_await ingest_.object_created(object, std::move(*news));
  if (!accepted) co_return failure(name, accepted.error());
  if (log_.enabled(LogLevel::debug)) {
    log_.debug("object taken", {{"bucket", name.bucket},
                                {"key", name.key},
                                {"event", accepted->event_id.str()},
                                {"runs", accepted->runs.size()}});
  }
  co_return Verdict{};
}

Task<bool> Examiner::was_just_placed(ObjectName name) {
  const auto placed = placed_.find(name.bucket, name.key);
  if (!placed) co_return false;
  const auto there = co_await objects_.stat(name.bucket, name.key);
  co_return there && there->version == *placed;
}

// Asked before anybody waits for a writer or for time: most notifications are about what is known already.
Task<Result<std::vector<Trigger>>> Examiner::news_for(std::vector<Trigger> triggers, ObjectRef object) {
  auto unseen = co_await ingest_.unseen(std::move(triggers), object);
  if (!unseen || unseen->empty()) co_return unseen;

  const auto ownership = co_await own_.of(object);
  if (!ownership) co_return fail(ownership.error());
  if (*ownership == Ownership::published) {
    for (const auto& trigger : *unseen) {
      const auto stored = co_await seen_.put(trigger.id, {{object.key, object_event_id(object)}});
      if (!stored) co_return fail(stored.error());
    }
  }
  if (*ownership != Ownership::foreign) unseen->clear();
  co_return unseen;
}

Verdict Examiner::trouble(const ObjectName& name, const Error& error) {
  const bool no_object = error.code == Errc::not_found || error.code == Errc::failed_precondition;
  if (no_object) return {};  // gone, a folder by now, or a link
  return failure(name, error);
}

Verdict Examiner::failure(const ObjectName& name, const Error& error) {
  if (retryable(error.code)) {
    return {.kind = Verdict::Kind::failed, .settling = {}, .error = error};
  }
  // The next scan comes to it again.
  log_.error("object not taken", {{"bucket", name.bucket}, {"key", name.key}, {"error", error}});
  return {};
}

}  // namespace millrace
