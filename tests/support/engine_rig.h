// The engine's classes over stand-ins, for tests of one class at a time: storage, broker and state do what the test
// says.
//
//   EngineRig rig;
//   rig.apply(EngineRig::function("copy", "in", "out"));
//   const auto finished = rig.wait(rig.finish.place_and_publish(record));
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "async/sim_event_loop.h"
#include "async/task_group.h"
#include "formats/identity.h"
#include "tests/support/fake_broker.h"
#include "tests/support/fake_executor.h"
#include "tests/support/fake_storage.h"
#include "tests/support/faulty_state.h"
#include "tests/support/node_engine.h"

namespace millrace {

struct EngineFakes {
  explicit EngineFakes(EventLoop& loop) : storage(loop), executor(loop), state(loop), broker(loop) {}

  FakeStorage storage;
  FakeExecutor executor;
  FaultyState state;
  FakeBroker broker;
};

// On any loop.
struct EngineParts : EngineFakes, NodeEngine {
  explicit EngineParts(EventLoop& loop, NodeBudget budget = {.memory_bytes = 1ULL << 30, .cpu_millicores = 4000})
      : EngineFakes(loop), NodeEngine(loop, {broker, state, storage, storage, executor}, budget) {}
};

template <class T>
Task<void> keep_value(Task<T> task, std::optional<T>& value) {
  T result = co_await task;
  value.emplace(std::move(result));
}

// On virtual time. `seed` decides the order of what is ready together.
class EngineRig {
 public:
  explicit EngineRig(std::uint64_t seed = 1, NodeBudget budget = {.memory_bytes = 1ULL << 30, .cpu_millicores = 4000})
      : loop(seed), parts(loop, budget), group(loop) {}

  // Lets time go on until the task is done, at most a day.
  template <class T>
  T wait(Task<T> task) {
    std::optional<T> value;
    group.spawn(keep_value(std::move(task), value));
    for (int second = 0; second < 86'400 && !value; ++second) {
      loop.run_for(std::chrono::seconds(second == 0 ? 0 : 1));
    }
    if (!value) throw std::runtime_error("the task waits for ever");
    return std::move(*value);
  }

  std::shared_ptr<const FunctionSpec> apply(FunctionSpec spec) {
    const std::string name = spec.name;
    std::vector<FunctionSpec> specs;
    specs.push_back(std::move(spec));
    const auto applied = wait(parts.registry.apply(std::move(specs)));
    if (!applied) throw std::runtime_error(applied.error().message);
    return parts.registry.find(name);
  }

  std::optional<RunRecord> row(const RunId& run_id) { return *wait(parts.state.runs().get(run_id)); }

  // A committed, successful run of `function` that left `names`, sealed and not yet placed.
  RunRecord committed(const std::string& function, const std::string& bucket, const std::vector<std::string>& names) {
    const std::string number = std::to_string(++committed_);
    RunRecord record;
    record.run_id = RunId(identity_hash({"run", number}));
    record.event_id = EventId(identity_hash({"event", number}));
    record.function = function;
    record.order = Order(parts.ulids.make(loop.wall_now()));
    record.token = AttemptToken(identity_hash({"token", number}));
    record.node = "node-1";
    record.committed_at = loop.wall_now();
    const AttemptPlace place{.bucket = bucket, .run_id = record.run_id, .token = record.token};
    const auto made = wait(parts.storage.make_attempt(place));
    for (const auto& name : names) parts.storage.leave(made->host_path, name);
    const auto rank = output_rank(record.order, record.generation, record.event_id, record.run_id);
    const auto sealed = wait(parts.storage.seal(place, {}, rank));
    for (const auto& file : sealed->files) {
      record.outputs.push_back({.name = file.name,
                                .store = "local",
                                .bucket = bucket,
                                .key = file.name,
                                .source_path = file.source_path,
                                .placed = file.placed,
                                .private_path = file.private_path,
                                .version = file.version,
                                .sha256 = file.sha256});
    }
    if (!wait(parts.state.runs().commit(record))) throw std::runtime_error("commit");
    return record;
  }

  SimEventLoop loop;
  EngineParts parts;
  TaskGroup group;

 private:
  int committed_ = 0;
};

}  // namespace millrace
