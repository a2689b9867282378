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

#include "async/blocking_pool.h"
#include "async/sim_event_loop.h"
#include "async/task_group.h"
#include "engine/admission.h"
#include "engine/finish.h"
#include "engine/ingest.h"
#include "engine/invoker.h"
#include "engine/registry.h"
#include "engine/run_table.h"
#include "engine/stage_in.h"
#include "engine/synchronous.h"
#include "formats/identity.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "tests/support/fake_broker.h"
#include "tests/support/fake_executor.h"
#include "tests/support/fake_storage.h"
#include "tests/support/faulty_state.h"

namespace millrace {

// On any loop. Its pool has no threads: what needs one has a pool of its own.
struct EngineParts {
  explicit EngineParts(EventLoop& loop, NodeBudget budget = {.memory_bytes = 1ULL << 30, .cpu_millicores = 4000})
      : log({.level = LogLevel::error, .format = LogFormat::text, .fd = 2}),
        storage(loop),
        executor(loop),
        state(loop),
        broker(loop),
        pool(loop, {.threads = 0}),
        admission(loop, budget),
        registry(loop, state.functions(), broker, storage, executors, ulids, std::chrono::seconds(30), log),
        ingest(loop, registry, broker, state.seen(), runs, ulids),
        stage_in(storage, pool, "/nonexistent"),
        invoker(loop, executors, stage_in, storage, state, "node-1", log, metrics),
        finish(storage, state, ingest, registry),
        calls(loop, registry, ingest, admission, invoker, finish, state, runs) {
    executors.add(ExecutorKind::container, executor);
  }

  // From bucket `from` to bucket `to`, or from nothing and to nothing.
  static FunctionSpec function(const std::string& name, const std::string& from = {}, const std::string& to = {}) {
    FunctionSpec spec;
    spec.name = name;
    spec.script = "#!/bin/sh\n";
    spec.cpu_millicores = 1000;
    spec.memory_bytes = 64 << 20;
    if (!from.empty()) spec.inputs.push_back({.storage = {.provider = "local", .path = from}});
    if (!to.empty()) spec.outputs.push_back({.storage = {.provider = "local", .path = to}, .prefix = {}, .suffix = {}});
    return spec;
  }

  Log log;
  Metrics metrics;
  UlidMaker ulids{7};
  FakeStorage storage;
  FakeExecutor executor;
  Executors executors;
  FaultyState state;
  FakeBroker broker;
  BlockingPool pool;
  RunTable runs;
  Admission admission;
  Registry registry;
  Ingest ingest;
  StageIn stage_in;
  Invoker invoker;
  Finish finish;
  SynchronousCalls calls;
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
