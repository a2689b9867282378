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
      losses(metrics.counter("millrace_broker_losses_total", "attempts that vanished without an outcome")) {
  topics->set_freed(journal.get());
  journal->on_confirmed([this] { reveal_confirmed(); });
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
  if (topic.groups().size() == TopicState::kGroupsMax) {
    return fail(Errc::resource_exhausted, "topic '" + topic.name() + "' has " + std::to_string(TopicState::kGroupsMax) +
                                              " groups already, the most a topic can have");
  }
  auto written = journal->write_group(topic.id(), topic.groups().size(), group);
  if (!written) return fail(std::move(written.error()));
  GroupState& added = topic.add_group(std::move(group));
  added.recorded_in = *written;
  GroupRuntime& made = runtime(topic, added);
  changed(made);
  return &made;
}

GroupRuntime& Core::runtime(TopicState& topic, GroupState& group) {
  auto& slot = groups_[&group];
  if (!slot) slot = std::make_unique<GroupRuntime>(loop, topic, group);
  return *slot;
}

void Core::reveal_later(TopicState& topic) {
  if (!unrevealed_.empty() && unrevealed_.back().topic == &topic) {
    unrevealed_.back().ticket = journal->written();
    unrevealed_.back().upto = topic.next_seq();
  } else {
    unrevealed_.push_back({.ticket = journal->written(), .topic = &topic, .upto = topic.next_seq()});
  }
}

void Core::reveal_confirmed() {
  while (!unrevealed_.empty() && unrevealed_.front().ticket <= journal->confirmed()) {
    const Unrevealed next = unrevealed_.front();
    unrevealed_.pop_front();
    next.topic->reveal(next.upto);
    for (const auto& group : next.topic->groups()) changed(runtime(*next.topic, *group));
  }
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
  backlog_changed = nullptr;
  unrevealed_.clear();
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
      if (core->backlog_changed) core->backlog_changed(each->name());
    }
  });
}

}  // namespace millrace::embedded
