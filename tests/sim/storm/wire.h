// The way between a node and everything outside: what is asked may get lost, come late, be done although nobody hears
// of it, or be on its way when the node dies.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <utility>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/sleep.h"
#include "async/task.h"
#include "async/task_group.h"
#include "core/error.h"
#include "core/run.h"
#include "tests/sim/storm/node_loop.h"
#include "tests/sim/storm/trace.h"

namespace millrace::storm {

// How bad it is at present. Chances are of 1000.
struct Weather {
  std::uint32_t lost_request = 0;  // not done, and an error
  std::uint32_t lost_answer = 0;   // done, and an error
  std::uint32_t twice = 0;         // a publish or a verdict that arrives twice, a message that is delivered again
  std::uint32_t slow = 0;          // takes up to `slow_max`
  std::chrono::milliseconds slow_max{0};
};

class Dice {
 public:
  explicit Dice(std::uint64_t seed) : random_(seed) {}
  bool chance(std::uint32_t of_1000) { return random_() % 1000 < of_1000; }
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  std::chrono::milliseconds up_to(std::chrono::milliseconds most) {
    return std::chrono::milliseconds(below(static_cast<std::uint64_t>(most.count()) + 1));
  }

 private:
  std::mt19937_64 random_;
};

// What is durable of each run so far, noted when it becomes so: verdicts must not come before it.
class Ledger {
 public:
  void committed(const RunRecord& record) {
    Entry& entry = entries_[record.run_id];
    entry.outcome = record.outcome;
    marked(record.run_id, record.placed, record.published);
  }
  void marked(const RunId& run_id, bool placed, bool published) {
    Entry& entry = entries_[run_id];
    entry.placed |= placed;
    entry.published |= published;
  }
  [[nodiscard]] bool may_ack(const RunId& run_id) const {
    const auto found = entries_.find(run_id);
    return found != entries_.end() && found->second.outcome && found->second.placed && found->second.published;
  }
  [[nodiscard]] bool may_bury(const RunId& run_id) const {
    const auto found = entries_.find(run_id);
    return found != entries_.end() && found->second.outcome == RunOutcome::dead_lettered;
  }

 private:
  struct Entry {
    std::optional<RunOutcome> outcome;
    bool placed = false;
    bool published = false;
  };
  std::map<RunId, Entry> entries_;
};

// What all nodes share. Outlives them.
struct Sky {
  Sky(SimEventLoop& world_loop, std::uint64_t seed, bool shown)
      : loop(world_loop), dice(seed), trace(world_loop, shown), carriers(world_loop) {}

  SimEventLoop& loop;
  Weather weather;
  Dice dice;
  Trace trace;
  Ledger ledger;
  std::map<std::string, FunctionUid> uids;  // of the functions, by work topic
  TaskGroup carriers;                       // what is on its way
};

// One life of a node's process.
struct Life {
  Life(Sky& all, std::string life_name) : sky(all), name(std::move(life_name)), loop(all.loop) {}

  Sky& sky;
  std::string name;
  NodeLoop loop;
  bool dead = false;
  int on_the_way = 0;  // requests that may still take effect
  std::stop_source ended;
};

namespace wire {

inline std::unexpected<Error> lost() {
  return fail(Errc::unavailable, "the storm");
}

class Underway {
 public:
  explicit Underway(Life& life) : life_(life) { ++life_.on_the_way; }
  Underway(const Underway&) = delete;
  Underway& operator=(const Underway&) = delete;
  ~Underway() { --life_.on_the_way; }

 private:
  Life& life_;
};

template <class T>
Task<void> carry(std::shared_ptr<Life> life, std::string what, Task<Result<T>> request, OneShot<Result<T>> answer) {
  const Underway underway(*life);
  Sky& sky = life->sky;
  const Weather now = sky.weather;
  if (sky.dice.chance(now.slow)) {
    const auto slept = co_await sleep_for(sky.loop, sky.dice.up_to(now.slow_max));
    if (!slept) co_return;
  }
  if (life->dead && sky.dice.chance(500)) co_return;  // lost with the process
  if (sky.dice.chance(now.lost_request)) {
    sky.trace.note(life->name + " " + what + " lost");
    answer.set(lost());
    co_return;
  }
  auto result = co_await request;
  sky.trace.note(life->name + " " + what + (result ? "" : " " + std::string(name_of(result.error().code))));
  if (sky.dice.chance(now.slow)) {
    const auto slept = co_await sleep_for(sky.loop, sky.dice.up_to(now.slow_max));
    if (!slept) co_return;
  }
  if (sky.dice.chance(now.lost_answer)) {
    sky.trace.note(life->name + " " + what + " answer lost");
    answer.set(lost());
    co_return;
  }
  answer.set(std::move(result));
}

// Asks; whatever becomes of the asker, the request is on its way.
template <class T>
Task<Result<T>> ask(std::shared_ptr<Life> life, std::string what, Task<Result<T>> request) {
  const OneShot<Result<T>> answer(life->loop);
  life->sky.carriers.spawn(carry(life, std::move(what), std::move(request), answer));
  auto result = co_await answer.wait();
  co_return result;
}

}  // namespace wire
}  // namespace millrace::storm
