#include "tests/sim/pipeline/world.h"

#include "formats/identity.h"

namespace millrace {

World::World(std::uint64_t seed, NodeBudget budget)
    : loop(seed),
      log({.level = LogLevel::error, .format = LogFormat::text, .fd = 2}),
      storage(loop),
      executor(loop),
      state(make_memory_state(loop)),
      broker(make_memory_broker({}, loop, metrics)),
      pool(loop, {.threads = 0}),
      admission(loop, budget),
      registry(loop, state->functions(), *broker, storage, executors, ulids, std::chrono::seconds(30), log),
      ingest(loop, registry, *broker, state->seen(), runs, ulids),
      stage_in(storage, pool, "/nonexistent"),
      invoker(loop, executors, stage_in, storage, *state, "node-1", log, metrics),
      finish(storage, *state, ingest, registry),
      calls(loop, registry, ingest, admission, invoker, finish, *state, runs),
      sweeper(loop, *state, storage, finish, runs, "node-1", {}, log),
      handler(loop, admission, invoker, finish, *state, runs, {}, log),
      workers(loop, *broker, admission, handler, log),
      group(loop) {
  executors.add(ExecutorKind::container, executor);
  registry.observe(workers);
}

FunctionSpec World::function(const std::string& name, const std::string& from, const std::string& to) {
  FunctionSpec spec;
  spec.name = name;
  spec.script = "#!/bin/sh\n";
  spec.cpu_millicores = 1000;
  spec.memory_bytes = 64 << 20;
  spec.retry_base = std::chrono::milliseconds(100);
  spec.inputs.push_back({.storage = {.provider = "local", .path = from}});
  if (!to.empty()) spec.outputs.push_back({.storage = {.provider = "local", .path = to}, .prefix = {}, .suffix = {}});
  return spec;
}

void World::apply(FunctionSpec spec) {
  const auto applied = wait(registry.apply({std::move(spec)}));
  if (!applied) throw std::runtime_error(applied.error().message);
}

Result<Execution> World::leave_copy(const ExecutionRequest& request) {
  storage.leave(request.output_path, request.inputs.front().name);
  return ended(AttemptOutcome::succeeded);
}

void World::define_copy(const std::string& name) {
  executor.define(name, std::chrono::milliseconds(50),
                  [this](const ExecutionRequest& request, int) { return leave_copy(request); });
}

RunId World::drop(const std::string& bucket, const std::string& key, const std::string& function) {
  const auto accepted = wait(ingest.object_created(storage.put(bucket, key)));
  for (const auto& run : accepted->runs) {
    if (run.function == function) return run.run_id;
  }
  return {};
}

std::optional<RunRecord> World::row(const RunId& run_id) {
  return *wait(state->runs().get(run_id));
}

Lag World::lag(const std::string& function) {
  return *wait(broker->lag(work_topic(function), std::string(kWorkersGroup)));
}

}  // namespace millrace
