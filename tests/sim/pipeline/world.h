// A whole node on virtual time: real engine and consumers over the memory broker, the memory state and fakes for
// storage and functions.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "async/sim_event_loop.h"
#include "async/task_group.h"
#include "broker/memory/memory_broker.h"
#include "consumers/delivery_handler.h"
#include "consumers/worker_pool.h"
#include "engine/sweeper.h"
#include "state/memory/memory_state.h"
#include "telemetry/metrics.h"
#include "tests/support/fake_executor.h"
#include "tests/support/fake_storage.h"
#include "tests/support/node_engine.h"

namespace millrace {

// What stays when a node goes.
struct WorldStores {
  explicit WorldStores(std::uint64_t seed)
      : loop(seed),
        storage(loop),
        executor(loop),
        state(make_memory_state(loop)),
        broker(make_memory_broker({}, loop, broker_metrics)) {}

  SimEventLoop loop;
  Metrics broker_metrics;
  FakeStorage storage;
  FakeExecutor executor;
  std::unique_ptr<StateStore> state;
  std::unique_ptr<Broker> broker;
};

class World : public WorldStores, public NodeEngine {
 public:
  explicit World(std::uint64_t seed, NodeBudget budget = {.memory_bytes = 1ULL << 30, .cpu_millicores = 2000});

  // As NodeEngine::function, with short retries.
  static FunctionSpec function(const std::string& name, const std::string& from, const std::string& to);
  void apply(FunctionSpec spec);

  // Defines a body that copies its input's name to one output and succeeds.
  void define_copy(const std::string& name);
  Result<Execution> leave_copy(const ExecutionRequest& request);

  // A new object, and its event.
  RunId drop(const std::string& bucket, const std::string& key, const std::string& function);
  std::optional<RunRecord> row(const RunId& run_id);
  Lag lag(const std::string& function);

  template <class T>
  T wait(Task<T> task);

  Sweeper sweeper;
  DeliveryHandler handler;
  WorkerPool workers;
  TaskGroup group;
};

template <class T>
Task<void> keep(Task<T> task, std::optional<T>& value) {
  value.emplace(co_await task);
}

// Runs virtual time until the task is done; the world goes on meanwhile.
template <class T>
T World::wait(Task<T> task) {
  std::optional<T> value;
  group.spawn(keep(std::move(task), value));
  for (int i = 0; i < 1'000'000 && !value; ++i) loop.run_for(std::chrono::milliseconds(1));
  return std::move(*value);
}

}  // namespace millrace
