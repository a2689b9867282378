// The inputs of functions as they come and go.
#include <algorithm>
#include <utility>

#include "async/sleep.h"
#include "producers/fs_watch.h"

namespace millrace {
namespace {

std::vector<Trigger> local_triggers(const std::shared_ptr<const FunctionSpec>& function) {
  auto triggers = triggers_of(function);
  std::erase_if(triggers, [](const Trigger& trigger) { return trigger.path.provider != "local"; });
  return triggers;
}

}  // namespace

Task<Result<void>> FsWatch::function_applied(std::shared_ptr<const FunctionSpec> now) {
  const auto turn = co_await changes_.acquire(1);
  auto ready = co_await set_up(now);
  co_return ready;
}

Task<void> FsWatch::function_removed(std::shared_ptr<const FunctionSpec> gone) {
  const auto turn = co_await changes_.acquire(1);
  functions_.erase(gone->name);
  std::vector<Trigger> triggers;
  for (const auto& [id, input] : inputs_) {
    if (input.trigger.function->name == gone->name) triggers.push_back(input.trigger);
  }
  co_await let_go(std::move(triggers));
}

Task<Result<void>> FsWatch::set_up(std::shared_ptr<const FunctionSpec> function) {
  functions_[function->name] = function;
  const auto triggers = local_triggers(function);
  std::vector<Trigger> old;
  for (const auto& [id, input] : inputs_) {
    const bool kept = std::ranges::find(triggers, id, &Trigger::id) != triggers.end();
    if (input.trigger.function->name == function->name && !kept) old.push_back(input.trigger);
  }
  if (!old.empty()) co_await let_go(std::move(old));

  Result<void> all;
  for (const auto& trigger : triggers) {
    Input& input = inputs_[trigger.id];
    input.trigger = trigger;
    input.bucket = trigger.path.bucket();
    input.folder = trigger.path.folder();
    if (input.ready) {
      reconciler_.start(trigger, Reconciler::FirstScan::after_rescan_time);
      continue;
    }
    const auto ready = co_await set_up_input(trigger);
    input.ready = ready.has_value();
    if (!ready) {
      input.trouble = ready.error();
      all = ready;
    }
  }
  co_return all;
}

Task<Result<void>> FsWatch::set_up_input(Trigger trigger) {
  const auto filled = co_await seen_.filled(trigger.id);
  if (!filled) co_return fail(filled.error());
  const Task<Result<void>> watching = *filled ? watch_input(trigger) : fill(trigger);
  const auto ready = co_await watching;
  if (!ready) co_return fail(ready.error().with("watch " + trigger.path.path));
  reconciler_.start(trigger, *filled ? Reconciler::FirstScan::now : Reconciler::FirstScan::after_rescan_time);
  co_return Result<void>();
}

Task<Result<void>> FsWatch::watch_input(Trigger trigger) {
  const std::string bucket(trigger.path.bucket());
  const std::string folder = trigger.path.folder();
  const auto turn = co_await turn_.acquire(1, group_.stop_token());
  if (!turn) co_return fail(turn.error());
  const auto walked = walked_.find(bucket);
  const bool covered = walked != walked_.end() && std::ranges::any_of(walked->second, [&](const std::string& one) {
                         return folder.starts_with(one);
                       });
  if (covered) co_return Result<void>();
  auto watched = co_await walk_bucket(bucket);
  co_return watched;
}

// What comes from the first try on runs, whatever keeps that from its end. With too many names it starts anew.
Task<Result<void>> FsWatch::fill(Trigger trigger) {
  const Fill fresh{.bucket = std::string(trigger.path.bucket()), .folder = trigger.path.folder(), .changed = {}};
  Fill& noted = fills_.try_emplace(trigger.id, fresh).first->second;
  auto filled = co_await fill(trigger, noted);
  if (filled || noted.changed.size() > options_.changed_during_fill_max) fills_.erase(trigger.id);
  co_return filled;
}

// Watches first and lists then, so that nothing falls between; a name with an event since then runs. Where the kernel
// lost events meanwhile, a file that came and was complete before it was listed counts as having been there.
Task<Result<void>> FsWatch::fill(Trigger trigger, const Fill& noted) {
  const auto watched = co_await watch_input(trigger);
  if (!watched) co_return fail(watched.error());
  auto first = co_await first_rows(trigger, noted);
  if (!first) co_return fail(first.error());
  const std::size_t count = first->rows.size();
  const auto stored = co_await seen_.fill(trigger.id, std::move(first->rows));
  if (!stored) co_return fail(stored.error());
  for (const auto& key : first->unfinished) candidates_.add({.bucket = noted.bucket, .key = key});
  log_.debug("input watched", {{"function", trigger.function->name}, {"path", trigger.path.path}, {"objects", count}});
  co_return Result<void>();
}

Task<Result<FirstRows>> FsWatch::first_rows(Trigger trigger, const Fill& noted) {
  auto first = co_await first_fill_.collect(trigger);
  if (!first) co_return fail(first.error());
  // What happened before and during the listing is noted now.
  const auto read = co_await read_queued(group_.stop_token());
  if (!read) co_return fail(read.error());
  if (noted.changed.size() > options_.changed_during_fill_max) {
    co_return fail(Errc::resource_exhausted, "more than " + std::to_string(options_.changed_during_fill_max) +
                                                 " files changed while the existing ones were listed");
  }
  if (noted.changed.empty()) co_return first;
  // Some of them were published already; their rows must survive the fill.
  const auto standing = co_await seen_.all(trigger.id);
  if (!standing) co_return fail(standing.error());
  for (const auto& key : noted.changed) {
    first->rows.erase(key);
    if (const auto row = standing->find(key); row != standing->end()) first->rows.insert(*row);
  }
  co_return first;
}

Task<void> FsWatch::let_go(std::vector<Trigger> triggers) {
  std::set<std::string> touched;
  for (const auto& trigger : triggers) {
    touched.emplace(trigger.path.bucket());
    inputs_.erase(trigger.id);
    fills_.erase(trigger.id);
    reconciler_.stop(trigger.id);
    const auto dropped = co_await seen_.drop(trigger.id);
    if (!dropped) log_.warn("rows of an input left behind", {{"path", trigger.path.path}, {"error", dropped.error()}});
  }
  const auto turn = co_await turn_.acquire(1, group_.stop_token());
  if (!turn) co_return;
  for (const auto& bucket : touched) {
    const auto wanted = wanted_folders(bucket);
    remove_watches(tree_.take_if(bucket, [&](std::string_view folder) { return !concerns(wanted, folder); }));
    const auto walked = walked_.find(bucket);
    if (walked == walked_.end()) continue;
    std::erase_if(walked->second,
                  [&](const std::string& folder) { return std::ranges::find(wanted, folder) == wanted.end(); });
    if (wanted.empty()) walked_.erase(walked);
  }
  watches_.set(static_cast<std::int64_t>(tree_.size()));
}

Task<void> FsWatch::repair_forever() {
  const auto stop = group_.stop_token();
  for (;;) {
    const auto slept = co_await sleep_for(loop_, options_.repair_every, stop);
    if (!slept) co_return;
    co_await repair();
  }
}

Task<void> FsWatch::repair() {
  const auto turn = co_await changes_.acquire(1, group_.stop_token());
  if (!turn) co_return;
  std::set<std::string> unready;
  for (const auto& [id, input] : inputs_) {
    if (!input.ready) unready.insert(input.trigger.function->name);
  }
  for (const auto& name : unready) {
    const auto ready = co_await set_up(functions_.at(name));
    if (!ready) log_.warn("function's inputs not watched", {{"function", name}, {"error", ready.error()}});
  }
  for (const auto& bucket : buckets()) {
    if (walked_.contains(bucket)) continue;
    const auto reading = co_await turn_.acquire(1, group_.stop_token());
    if (!reading) co_return;
    const auto walked = co_await walk_bucket(bucket);
    if (walked) {
      log_.info("bucket watched again", {{"bucket", bucket}});
      reconciler_.request(bucket);
    }
  }
}

}  // namespace millrace
