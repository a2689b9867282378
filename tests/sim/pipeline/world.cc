#include "tests/sim/pipeline/world.h"

#include "formats/identity.h"

namespace millrace {

World::World(std::uint64_t seed, NodeBudget budget)
    : WorldStores(seed),
      NodeEngine(loop, {*broker, *state, storage, storage, executor}, budget),
      sweeper(loop, *state, storage, finish, runs, "node-1", {}, log),
      handler(loop, admission, invoker, finish, *state, runs, {}, log),
      workers(loop, *broker, admission, handler, log),
      group(loop) {
  registry.observe(workers);
}

FunctionSpec World::function(const std::string& name, const std::string& from, const std::string& to) {
  FunctionSpec spec = NodeEngine::function(name, from, to);
  spec.retry_base = std::chrono::milliseconds(100);
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
