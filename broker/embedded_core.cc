#include "broker/embedded_core.h"

#include <algorithm>
#include <utility>

#include "broker/embedded_delivery.h"

namespace millrace::embedded {

Core::Core(EventLoop& event_loop, Metrics& metrics, EmbeddedBroker::Options broker_options,
           std::unique_ptr<TopicTable> table, std::unique_ptr<Journal> the_journal)
    : loop(event_loop),
      options(broker_options),
      topics(std::move(table)),
      journal(std::move(the_journal)),
      published(metrics.counter("millrace_broker_published_total", "messages published, repeats not counted")),
      duplicates(metrics.counter("millrace_broker_duplicates_total", "publishes of an id that was known")),
      dropped(metrics.counter("millrace_broker_dropped_deliveries_total", "deliveries dropped without a verdict")),
      leases_lost(metrics.counter("millrace_broker_leases_lost_total", "deliveries whose lease ran out")),
      losses(metrics.counter("millrace_broker_losses_total", "attempts that vanished without an outcome")),
      refused(
          metrics.counter("millrace_broker_refused_total", "publishes refused because a bound or the disk is full")),
      overdue(metrics.gauge("millrace_broker_overdue_groups",
                            "groups whose oldest message is older than their topic's overdue_after")) {
  topics->set_freed(journal.get());
  for (const auto& topic : topics->all()) {
    if (!topic) continue;
    for (const auto& group : topic->groups()) arm(runtime(*topic, *group));
  }
}

Result<void> Core::usable() const {
  if (!journal) return fail(Errc::unavailable, "the broker is closed");
  if (journal->failure()) return fail(*journal->failure());
  return {};
}

Result<TopicState*> Core::find(std::string_view topic) const {
  if (auto ok = usable(); !ok) return fail(std::move(ok.error()));
  TopicState* found = topics->find(topic);
  if (found == nullptr)
    return fail(Errc::not_found, "topic '" + std::string(topic.substr(0, 200)) + "' does not exist");
  return found;
}

Result<GroupRuntime*> Core::find(std::string_view topic, std::string_view group) {
  auto found = find(topic);
  if (!found) return fail(std::move(found.error()));
  GroupState* state = (*found)->find_group(group);
  if (state == nullptr) {
    return fail(Errc::not_found,
                "topic '" + (*found)->name() + "' has no group '" + std::string(group.substr(0, 200)) + "'");
  }
  return &runtime(**found, *state);
}

Result<GroupRuntime*> Core::add_group(TopicState& topic, std::string group) {
  if (auto ok = check_topic_name(group); !ok) return fail(ok.error().with("the name of a group"));
  const std::size_t index = topic.free_group();
  if (index == TopicState::kGroupsMax) {
    return fail(Errc::resource_exhausted, "topic '" + topic.name() + "' has " + std::to_string(TopicState::kGroupsMax) +
                                              " groups already, the most a topic can have");
  }
  auto written = journal->write_group(topic.id(), index, group);
  if (!written) return fail(std::move(written.error()));
  GroupState& added = topic.add_group(index, std::move(group));
  added.recorded_in = *written;
  GroupRuntime& made = runtime(topic, added);
  changed(made);
  return &made;
}

Result<void> Core::remove_group(GroupRuntime& group) {
  auto written = journal->write_group_removed(group.group);
  if (!written) return fail(std::move(written.error()));
  const auto holders = group.topic.remove_group(group.group.index());
  group.group.recorded_in = *written;
  end(group);
  lose(holders);
  return {};
}

Result<void> Core::remove_topic(TopicState& topic) {
  auto written = journal->write_topic_removed(topic.id());
  if (!written) return written;
  std::vector<GroupRuntime*> ended;
  for (const auto& group : topic.groups()) {
    if (!group->is_removed()) ended.push_back(&runtime(topic, *group));
  }
  const auto [first, last] = watchers.equal_range(topic.name());
  for (auto each = first; each != last; ++each) {
    if (TopicWatcher* const watcher = std::exchange(each->second, nullptr)) watcher->topic_removed();
  }
  const auto holders = topics->remove(topic);
  for (GroupRuntime* group : ended) end(*group);
  lose(holders);
  return {};
}

void Core::show(const std::string& topic, const std::vector<std::shared_ptr<const StoredMessage>>& messages) const {
  const auto [first, last] = watchers.equal_range(topic);
  for (const auto& message : messages) {
    for (auto each = first; each != last; ++each) {
      if (each->second != nullptr) each->second->seen(message->event, message->key, message->published_at);
    }
  }
}

// It is removed: nothing of it goes on, and whoever waits there hears of it.
void Core::end(GroupRuntime& group) {
  ++group.life;
  if (std::exchange(group.overdue, false)) overdue.add(-1);
  group.timer.reset();
  group.waits.wake_all();
}

GroupRuntime& Core::runtime(TopicState& topic, GroupState& group) {
  auto& slot = groups_[&group];
  if (!slot) slot = std::make_unique<GroupRuntime>(loop, topic, group);
  return *slot;
}

void Core::added(TopicState& topic) {
  for (const auto& group : topic.groups()) {
    GroupRuntime& told = runtime(topic, *group);
    changed(told);
    // More comes in: a good time to see whether anybody takes it out.
    constexpr auto kOverdueCheck = std::chrono::minutes(1);
    if (loop.now() - told.overdue_checked >= kOverdueCheck) static_cast<void>(lag(told));
  }
}

Lag Core::lag(GroupRuntime& group) {
  const Lag found = group.group.lag(loop.wall_now());
  group.overdue_checked = loop.now();
  if (found.overdue == group.overdue) return found;
  group.overdue = found.overdue;
  overdue.add(found.overdue ? 1 : -1);
  if (options.log == nullptr) return found;
  if (found.overdue) {
    options.log->warn("messages of a group are overdue: does anybody work there?",
                      {{"topic", group.topic.name()},
                       {"group", group.group.name()},
                       {"open", found.open()},
                       {"oldest_s", std::chrono::duration_cast<std::chrono::seconds>(found.oldest).count()}});
  } else {
    options.log->info("no message of the group is overdue any more",
                      {{"topic", group.topic.name()}, {"group", group.group.name()}});
  }
  return found;
}

void Core::changed(GroupRuntime& group) {
  if (const std::uint64_t ready = group.group.ready_count(); ready > 0) {
    group.waits.wake(ready);
    tell_backlog(group.topic);
  }
  arm(group);
}

void Core::lose(const std::vector<void*>& holders) {
  std::vector<std::stop_source> told;
  for (void* holder : holders) told.push_back(static_cast<EmbeddedDelivery*>(holder)->lose());
  for (auto& source : told) source.request_stop();  // may run anything, drop the other deliveries too
}

std::unique_ptr<Journal> Core::shut() {
  std::vector<void*> holders;
  for (const auto& [state, group] : groups_) {
    group->timer.reset();
    group->waits.wake_all();
    for (const auto& expired : group->group.expire(EventLoop::TimePoint::max())) holders.push_back(expired.holder);
  }
  for (WaitList* each : credit_waits) each->wake_all();
  backlog_changed = nullptr;
  topics->set_freed(nullptr);
  auto closing = std::move(journal);
  lose(holders);
  return closing;
}

void Core::arm(GroupRuntime& group) {
  const auto next = group.group.next_change();
  if (!next) {
    group.timer.reset();
    return;
  }
  // A timer that fires too early only sets the next one; most leases end long before they run out.
  if (group.timer && group.armed <= *next) return;
  group.armed = *next;
  group.timer = loop.start_timer(*next - loop.now(), [this, &group] { on_timer(group); });
}

void Core::on_timer(GroupRuntime& group) {
  const auto self = shared_from_this();
  group.timer.reset();
  const auto now = loop.now();
  group.group.promote(now);
  std::vector<void*> holders;
  for (const auto& expired : group.group.expire(now)) {
    holders.push_back(expired.holder);
    leases_lost.add();
    if (!expired.lost) continue;
    losses.add();
    // Unwritten, the same loss is counted at the next start: its attempt has no outcome there either.
    static_cast<void>(journal->write_entry(group.group, *expired.entry, std::chrono::milliseconds(0)));
  }
  changed(group);
  lose(holders);
}

void Core::tell_backlog(const TopicState& topic) {
  if (!backlog_changed || std::ranges::find(backlog_, &topic) != backlog_.end()) return;
  backlog_.push_back(&topic);
  if (backlog_.size() > 1) return;
  loop.post([weak = weak_from_this()] {
    const auto core = weak.lock();
    if (!core) return;
    for (const TopicState* each : std::exchange(core->backlog_, {})) {
      if (core->backlog_changed && !each->is_removed()) core->backlog_changed(each->name());
    }
  });
}

}  // namespace millrace::embedded
