#include "engine/needed_runs.h"

#include <utility>
#include <vector>

#include "engine/user_topics.h"
#include "formats/topic_name.h"

namespace millrace {
namespace {

constexpr std::size_t kPage = 1'000;

class Look {
 public:
  Look(EventLoop& loop, Broker& broker) : loop_(loop), broker_(broker) {}

  // What is open is asked for before the dead letters are read and once more behind them: one that dies or is redriven
  // meanwhile is found as the one or as the other.
  Task<Result<void>> at(WorkPlace place) {
    const auto before = co_await at_open(place);
    if (!before) co_return fail(before.error());
    if (before->dead == 0) co_return Result<void>{};
    const auto dead = co_await at_dead(place);
    if (!dead) co_return fail(dead.error());
    const auto after = co_await at_open(place);
    if (!after) co_return fail(after.error());
    co_return Result<void>{};
  }

  NeededRuns take() { return std::move(needed_); }

 private:
  Task<Result<Lag>> at_open(const WorkPlace& place) {
    auto lag = co_await broker_.lag(place.topic, place.group);
    if (!lag) co_return fail(lag.error());
    const WallTime since = loop_.wall_now() - lag->oldest;
    if (lag->open() > 0 && since < needed_.open_since) {
      needed_.open_since = since;
      needed_.open_topic = place.topic;
    }
    co_return lag;
  }

  Task<Result<void>> at_dead(const WorkPlace& place) {
    std::string after;
    for (;;) {
      const auto letters = co_await broker_.dead_letters(place.topic, place.group, after, kPage);
      if (!letters) co_return fail(letters.error());
      if (letters->empty()) co_return Result<void>{};
      for (const auto& letter : *letters) {
        needed_.dead_events.insert(letter.event.id);
        if (!letter.event.cause.empty()) needed_.dead_causes.insert(letter.event.cause);
      }
      if (needed_.dead_events.size() > kDeadLettersMax) {
        co_return fail(Errc::failed_precondition, "there are more than " + std::to_string(kDeadLettersMax) +
                                                      " dead letters, and what they need is kept; redrive them");
      }
      after = letters->back().position;
    }
  }

  EventLoop& loop_;
  Broker& broker_;
  NeededRuns needed_;
};

// A function's group goes from a user topic with the function, from its work topic only with the topic: one that is
// missing there was lost, and once it is made again what is in the topic comes to it.
Task<bool> went_meanwhile(Broker& broker, std::string topic) {
  if (is_user_topic_name(topic)) co_return true;
  const auto info = co_await broker.describe(std::move(topic));
  co_return !info && info.error().code == Errc::not_found;
}

}  // namespace

Task<Result<NeededRuns>> needed_runs(EventLoop& loop, Broker& broker) {
  const auto topics = co_await broker.topics();
  if (!topics) co_return fail(topics.error());
  Look look(loop, broker);
  for (const auto& topic : *topics) {
    std::vector<std::string> groups{std::string(kWorkersGroup)};
    if (is_user_topic_name(topic)) {
      auto info = co_await broker.describe(topic);
      if (!info && info.error().code == Errc::not_found) continue;  // it went meanwhile
      if (!info) co_return fail(info.error().with("look at topic '" + topic + "'"));
      groups = std::move(info->spec.groups);
      std::erase_if(groups, [](const std::string& group) { return !group.starts_with(kWorkTopicPrefix); });
    }
    for (auto& group : groups) {
      const auto looked = co_await look.at({.topic = topic, .group = std::move(group)});
      if (looked) continue;
      bool went = looked.error().code == Errc::not_found;
      if (went) went = co_await went_meanwhile(broker, topic);
      if (!went) co_return fail(looked.error().with("look at topic '" + topic + "'"));
    }
  }
  co_return look.take();
}

}  // namespace millrace
