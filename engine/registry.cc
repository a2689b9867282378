#include "engine/registry.h"

#include <fnmatch.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "async/sleep.h"
#include "core/backoff.h"
#include "engine/capacity.h"
#include "engine/nodes.h"
#include "formats/identity.h"
#include "formats/spec_check.h"

namespace millrace {
namespace {

constexpr std::chrono::milliseconds kPrepareBase{1'000};
constexpr std::chrono::milliseconds kPrepareCap{60'000};
constexpr int kApplyTimesMax = 5;  // while other nodes apply the same functions

bool same_content(FunctionSpec left, const FunctionSpec& right) {
  left.uid = right.uid;
  left.revision = right.revision;
  return left == right;
}

FunctionBuckets buckets_of(const FunctionSpec& function) {
  FunctionBuckets buckets;
  for (const auto& input : function.inputs) buckets.inputs.emplace_back(input.storage.bucket());
  for (const auto& output : function.outputs) buckets.outputs.emplace_back(output.storage.bucket());
  return buckets;
}

}  // namespace

Result<Executor*> Executors::find(ExecutorKind kind) const {
  const auto found = by_kind_.find(kind);
  if (found == by_kind_.end()) {
    return fail(Errc::failed_precondition,
                "executor '" + std::string(name_of(kind)) + "' is not available on this node; see `millrace check`");
  }
  return found->second;
}

std::string trigger_id(const FunctionSpec& function, const InputSpec& input) {
  return identity_hash({function.uid.str(), input.storage.provider, input.storage.path});
}

std::vector<Trigger> triggers_of(const std::shared_ptr<const FunctionSpec>& function) {
  std::vector<Trigger> triggers;
  for (const auto& input : function->inputs) {
    triggers.push_back({.id = trigger_id(*function, input), .function = function, .path = input.storage});
  }
  return triggers;
}

bool wanted(const FunctionSpec& function, std::string_view key) {
  const std::string name(key.substr(key.rfind('/') + 1));  // npos + 1 is 0
  return std::ranges::none_of(function.ignore,
                              [&](const std::string& glob) { return fnmatch(glob.c_str(), name.c_str(), 0) == 0; });
}

Registry::Registry(EventLoop& loop, FunctionStore& store, Broker& broker, ObjectStore& objects,
                   const Executors& executors, UlidMaker& ulids, std::chrono::milliseconds lease, Log& log)
    : loop_(loop),
      store_(store),
      broker_(broker),
      objects_(objects),
      executors_(executors),
      ulids_(ulids),
      lease_(lease),
      topics_(broker, lease),
      log_(log),
      try_again_(loop),
      changes_(loop, 1) {}

Task<Result<void>> Registry::load() {
  auto stored = co_await store_.all();
  if (!stored) co_return fail(stored.error().with("read the functions"));
  for (auto& spec : *stored) {
    auto function = std::make_shared<const FunctionSpec>(std::move(spec));
    functions_[function->name] = function;
  }
  rebuild_index();
  co_await report_lost_topics();
  co_await drop_orphans();
  for (const auto& function : all()) {
    const auto ready = co_await prepare(function);
    // One function that cannot be served now must not keep the others from starting.
    if (ready) continue;
    log_.error("function not ready", {{"function", function->name}, {"error", ready.error()}});
    not_ready(function->name, ready.error());
  }
  co_return Result<void>{};
}

Task<void> Registry::prepare_the_rest(std::stop_token stop) {
  while (!stop.stop_requested()) {
    const bool due = co_await pause(stop);
    if (!due) continue;
    const auto turn = co_await changes_.acquire(1, stop);
    if (!turn) co_return;
    ++times_;
    const auto unready = unready_;
    for (const auto& [name, before] : unready) {
      const auto function = find(name);
      if (!function) continue;
      const auto ready = co_await prepare(function);
      if (!ready) {
        log_.warn("function still not ready", {{"function", name}, {"error", ready.error()}});
        unready_.insert_or_assign(name, ready.error());
        continue;
      }
      co_await leave_topics(name, function);
      unready_.erase(name);
      log_.info("function ready", {{"function", name}});
    }
  }
}

// True when the next try is due; false when what there is to try has changed, or at the stop.
Task<bool> Registry::pause(std::stop_token stop) {
  try_again_ = OneShot<bool>(loop_);
  const std::stop_callback on_stop(stop, [woken = try_again_] { woken.set(false); });
  std::unique_ptr<EventLoop::Handle> timer;
  if (!unready_.empty()) {
    timer = loop_.start_timer(Backoff::ceiling(kPrepareBase, kPrepareCap, times_ + 1),
                              [woken = try_again_] { woken.set(true); });
  }
  const bool due = co_await try_again_.wait();
  co_return due;
}

void Registry::not_ready(const std::string& function, Error error) {
  unready_.insert_or_assign(function, std::move(error));
  times_ = 0;
  try_again_.set(false);
}

std::optional<Error> Registry::unready(std::string_view name) const {
  const auto found = unready_.find(name);
  return found == unready_.end() ? std::nullopt : std::optional(found->second);
}

Task<void> Registry::drop_orphans() {
  const auto dropped = co_await topics_.drop_orphans([this] { return store_.all(); });
  if (!dropped) log_.warn("groups of removed functions may be left on topics", {{"error", dropped.error()}});
}

void Registry::leave_later(const FunctionSpec& before) {
  for (const auto& input : before.topics) to_leave_[before.name].insert(input.topic);
}

// The groups on topics that the function reads no more. `now` is null when it is removed. One that stays for now is
// found at the next start.
Task<void> Registry::leave_topics(std::string function, std::shared_ptr<const FunctionSpec> now) {
  const auto before = to_leave_.extract(function);
  if (!before) co_return;
  for (const auto& topic : before.mapped()) {
    const bool still = now && std::ranges::find(now->topics, topic, &TopicInputSpec::topic) != now->topics.end();
    if (still) continue;
    const auto left = co_await topics_.leave(function, topic);
    if (left) continue;
    log_.warn("a group that nobody reads stays on its topic",
              {{"topic", topic}, {"function", function}, {"error", left.error()}});
  }
}

// A broker that comes back empty is taken for a new one by everybody else.
Task<void> Registry::report_lost_topics() {
  if (broker_.capabilities().confirm == Durability::memory) co_return;
  const auto topics = co_await broker_.topics();
  if (!topics) co_return;  // preparing the functions meets the same error, and says so
  std::size_t lost = 0;
  std::string first;
  for (const auto& function : all()) {
    if (std::ranges::binary_search(*topics, work_topic(function->name))) continue;
    if (lost++ == 0) first = function->name;
  }
  if (lost == 0) co_return;
  log_.error(
      "the broker does not know the work topics of functions that were here before: events that waited in them "
      "are lost; was the log's directory removed or replaced?",
      {{"functions", lost}, {"first", first}});
}

Task<Result<std::vector<Applied>>> Registry::check(std::vector<FunctionSpec> specs) {
  std::vector<FunctionSpec> together = specs;
  for (const auto& [name, function] : functions_) {
    const bool replaced = std::ranges::any_of(specs, [&](const FunctionSpec& spec) { return spec.name == name; });
    if (!replaced) together.push_back(*function);
  }
  const auto acyclic = check_no_loops(together);
  if (!acyclic) co_return fail(acyclic.error());
  Result<std::vector<NodeRow>> nodes;
  if (nodes_ != nullptr) nodes = co_await nodes_->all();
  if (!nodes) co_return fail(nodes.error().with("ask the nodes what they have for functions"));

  std::vector<Applied> checked;
  for (auto& spec : specs) {
    const auto function = std::make_shared<const FunctionSpec>(std::move(spec));
    if (function->ordered_by_key && !broker_.capabilities().ordered_keys) {
      co_return fail(Errc::failed_precondition, "function '" + function->name +
                                                    "': order: key needs a broker that keeps events of a key in order");
    }
    const auto executor = executors_.find(function->executor);
    if (!executor) co_return fail(executor.error().with("function '" + function->name + "'"));
    auto warnings = co_await (*executor)->check(function);
    if (!warnings) co_return fail(warnings.error().with("function '" + function->name + "'"));
    if (nodes_ != nullptr) {
      auto room = check_capacity(*function, *nodes);
      if (!room) co_return fail(room.error().with("function '" + function->name + "'"));
      std::ranges::move(*room, std::back_inserter(*warnings));
    }
    const auto usable = co_await objects_.check_buckets(buckets_of(*function));
    if (!usable) co_return fail(usable.error().with("function '" + function->name + "'"));
    checked.push_back({.function = function,
                       .created = !functions_.contains(function->name),
                       .changed = false,
                       .warnings = std::move(*warnings)});
  }
  co_return checked;
}

Task<std::vector<std::string>> Registry::warnings(std::shared_ptr<const FunctionSpec> function) {
  const auto executor = executors_.find(function->executor);
  if (!executor) co_return std::vector{executor.error().message};
  auto found = co_await (*executor)->check(function);
  if (!found) co_return std::vector{found.error().message};
  co_return std::move(*found);
}

Task<Result<std::vector<Applied>>> Registry::apply(std::vector<FunctionSpec> specs) {
  const auto turn = co_await changes_.acquire(1);
  for (int times = 1;; ++times) {
    if (shared_) {
      const auto current = co_await take_stored();
      if (!current) co_return fail(current.error());
    }
    auto applied = co_await apply_once(specs);
    const bool beaten = !applied && applied.error().code == Errc::aborted;
    if (!beaten || times >= kApplyTimesMax) co_return applied;
  }
}

Task<Result<std::vector<Applied>>> Registry::apply_once(std::vector<FunctionSpec> specs) {
  auto checked = co_await check(std::move(specs));
  if (!checked) co_return fail(checked.error());
  for (auto& item : *checked) {
    const std::string name = item.function->name;
    auto applied = co_await apply_checked(*item.function, std::move(item.warnings));
    if (!applied) co_return fail(applied.error().with("function '" + name + "'"));
    item = std::move(*applied);
  }
  co_return checked;
}

Task<Result<Applied>> Registry::apply_checked(FunctionSpec spec, std::vector<std::string> warnings) {
  const auto before = find(spec.name);
  Applied applied{.function = before, .created = !before, .changed = false, .warnings = std::move(warnings)};
  if (!before || !same_content(spec, *before)) {
    // Before the function is stored: one that is and has no topic at a start has lost it.
    const auto ensured = co_await ensure_work_topic(spec.name);
    if (!ensured) co_return fail(ensured.error().with("make its work topic"));
    spec.uid = before ? before->uid : FunctionUid(ulids_.make(loop_.wall_now()));
    spec.revision = before ? before->revision + 1 : 1;
    const auto stored = co_await store_.put(spec);
    if (!stored) co_return fail(stored.error().with("store it"));
    applied.changed = true;
    applied.function = std::make_shared<const FunctionSpec>(std::move(spec));
    functions_[applied.function->name] = applied.function;
    rebuild_index();
    if (before) {
      forget(*before);
      leave_later(*before);
    }
  }
  const auto ready = co_await prepare(applied.function);
  if (!ready) {
    not_ready(applied.function->name, ready.error());
    co_return fail(ready.error().with("stored but not ready"));
  }
  co_await leave_topics(applied.function->name, applied.function);
  unready_.erase(applied.function->name);
  if (applied.changed) {
    log_.info("function applied", {{"function", applied.function->name}, {"revision", applied.function->revision}});
  }
  co_return applied;
}

// Either side as far as it goes: events that wait for a function that cannot run yet are not lost, and one whose input
// cannot be watched can be called.
Task<Result<void>> Registry::prepare(std::shared_ptr<const FunctionSpec> function) {
  const auto ensured = co_await ensure_work_topic(function->name);
  if (!ensured) co_return fail(ensured.error());
  auto inputs = co_await prepare_inputs(function);
  auto runs = co_await prepare_runs(function);
  co_return inputs ? runs : inputs;
}

Task<Result<void>> Registry::ensure_work_topic(std::string function) {
  TopicSpec topic{.name = work_topic(function), .groups = {std::string(kWorkersGroup)}, .lease = lease_};
  auto ensured = co_await broker_.ensure(std::move(topic));
  co_return ensured;
}

// What makes events of them comes last.
Task<Result<void>> Registry::prepare_inputs(std::shared_ptr<const FunctionSpec> function) {
  for (const auto& input : function->inputs) {
    const auto made = co_await objects_.ensure_bucket(std::string(input.storage.bucket()));
    if (!made) co_return fail(made.error());
  }
  for (FunctionObserver* producer : producers_) {
    const auto told = co_await producer->function_applied(function);
    if (!told) co_return fail(told.error());
  }
  co_return Result<void>{};
}

// What runs need, and then whoever runs them.
Task<Result<void>> Registry::prepare_runs(std::shared_ptr<const FunctionSpec> function) {
  for (const auto& output : function->outputs) {
    const auto made = co_await objects_.ensure_bucket(std::string(output.storage.bucket()));
    if (!made) co_return fail(made.error());
  }
  for (const auto& input : function->topics) {
    const auto joined = co_await topics_.join(function->name, input);
    if (!joined) co_return fail(joined.error().with("topic '" + input.topic + "'"));
  }
  for (const auto& output : function->topic_outputs) {
    const auto made = co_await topics_.make(output.topic);
    if (!made) co_return fail(made.error().with("topic '" + output.topic + "'"));
  }
  for (FunctionObserver* observer : observers_) {
    const auto told = co_await observer->function_applied(function);
    if (!told) co_return fail(told.error());
  }
  co_return Result<void>{};
}

Task<Result<void>> Registry::remove(std::string name) {
  const auto turn = co_await changes_.acquire(1);
  if (shared_) {
    const auto current = co_await take_stored();
    if (!current) co_return fail(current.error());
  }
  const auto function = find(name);
  if (!function) co_return fail(Errc::not_found, "function '" + name + "' does not exist");
  const auto removed = co_await store_.remove(name);
  if (!removed) co_return fail(removed.error());
  co_await let_go(function);
  leave_later(*function);
  co_await leave_topics(name, nullptr);
  log_.info("function removed", {{"function", name}});
  co_return Result<void>{};
}

Task<void> Registry::let_go(std::shared_ptr<const FunctionSpec> gone) {
  functions_.erase(gone->name);
  unready_.erase(gone->name);
  rebuild_index();
  for (FunctionObserver* observer : observers_) co_await observer->function_removed(gone);
  for (FunctionObserver* producer : producers_) co_await producer->function_removed(gone);
  forget(*gone);
}

Task<Result<void>> Registry::refresh() {
  const auto turn = co_await changes_.acquire(1);
  shared_ = true;
  auto taken = co_await take_stored();
  co_return taken;
}

Task<Result<void>> Registry::take_stored() {
  auto stored = co_await store_.all();
  if (!stored) co_return fail(stored.error().with("read the functions"));
  std::set<std::string> names;
  for (auto& spec : *stored) {
    names.insert(spec.name);
    const auto before = find(spec.name);
    if (before && *before == spec && !unready_.contains(spec.name)) continue;
    co_await take_over(std::move(spec));
  }
  for (const auto& function : all()) {
    if (names.contains(function->name)) continue;
    co_await let_go(function);
    co_await leave_topics(function->name, nullptr);
    log_.info("function removed by another node", {{"function", function->name}});
  }
  co_return Result<void>{};
}

Task<void> Registry::take_over(FunctionSpec spec) {
  const auto before = find(spec.name);
  // Removed and made anew: what belongs to the one before is not this one's.
  if (before && before->uid != spec.uid) co_await let_go(before);
  const auto function = std::make_shared<const FunctionSpec>(std::move(spec));
  const bool changed = !before || !(*before == *function);
  functions_[function->name] = function;
  rebuild_index();
  if (changed && before && before->uid == function->uid) forget(*before);
  const auto ready = co_await prepare(function);
  if (!ready) {
    log_.error("function not ready", {{"function", function->name}, {"error", ready.error()}});
    not_ready(function->name, ready.error());
    co_return;
  }
  co_await leave_topics(function->name, function);
  unready_.erase(function->name);
  if (!changed) co_return;
  log_.info("function applied by another node", {{"function", function->name}, {"revision", function->revision}});
}

void Registry::forget(const FunctionSpec& revision) {
  const auto executor = executors_.find(revision.executor);
  if (executor) (*executor)->forget(revision.uid, revision.revision);
}

std::shared_ptr<const FunctionSpec> Registry::find(std::string_view name) const {
  const auto found = functions_.find(name);
  return found == functions_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const FunctionSpec>> Registry::all() const {
  std::vector<std::shared_ptr<const FunctionSpec>> functions;
  functions.reserve(functions_.size());
  for (const auto& [name, function] : functions_) functions.push_back(function);
  return functions;
}

void Registry::rebuild_index() {
  index_.clear();
  for (const auto& [name, function] : functions_) {
    for (auto& trigger : triggers_of(function)) {
      index_[std::string(trigger.path.bucket())].push_back(std::move(trigger));
    }
  }
}

std::vector<Trigger> Registry::match(const ObjectRef& object) const {
  std::vector<Trigger> matches;
  const auto bucket = index_.find(object.bucket);
  if (bucket == index_.end()) return matches;
  for (const auto& trigger : bucket->second) {
    const bool known =
        std::ranges::any_of(matches, [&](const Trigger& match) { return match.function == trigger.function; });
    if (!known && object.key.starts_with(trigger.path.folder()) && wanted(*trigger.function, object.key)) {
      matches.push_back(trigger);
    }
  }
  return matches;
}

Task<Result<void>> Registry::drain(std::stop_token stop) {
  auto everybody = observers_;
  everybody.insert(everybody.end(), producers_.begin(), producers_.end());
  for (FunctionObserver* observer : everybody) {
    const auto drained = co_await observer->drain(stop);
    if (!drained) co_return fail(drained.error());
  }
  co_return Result<void>{};
}

}  // namespace millrace
