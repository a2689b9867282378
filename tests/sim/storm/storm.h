// The whole pipeline in bad weather: one or two nodes with real engine and consumers over one memory broker, one memory
// state and one storage, through wires that lose, delay and repeat; processes that die and stand still; clocks that
// jump. Then the sky clears, everything comes to rest, and what stands is compared with what must have come of it.
//
//   Storm storm(seed, {});
//   const Outcome outcome = storm.run();      // outcome.violations is empty, or tells what went wrong
//
// Everything follows from the seed.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "async/sim_event_loop.h"
#include "broker/memory/memory_broker.h"
#include "consumers/delivery_handler.h"
#include "consumers/worker_pool.h"
#include "engine/sweeper.h"
#include "state/memory/memory_state.h"
#include "tests/sim/storm/far_broker.h"
#include "tests/sim/storm/far_stores.h"
#include "tests/sim/storm/functions.h"
#include "tests/sim/storm/wire.h"
#include "tests/support/fake_storage.h"
#include "tests/support/node_engine.h"

namespace millrace::storm {

struct StormOptions {
  bool shown = false;  // the trace, on stderr
  // Puts something broken between the nodes and the state store, so that the checks can be checked.
  std::function<std::unique_ptr<StateStore>(StateStore& real)> break_state;
};

struct Outcome {
  std::vector<std::string> violations;
  std::uint64_t trace_hash = 0;
  std::size_t runs = 0;
  std::size_t executions = 0;
  std::size_t crashes = 0;
  std::size_t losses = 0;
};

// One life of a node's process: everything that is in memory.
struct Node {
  Node(std::shared_ptr<Life> one_life, BrokerShore& shore, StateStore& real_state, FakeStorage& storage,
       Workshop& workshop, const std::string& name, std::uint64_t seed, bool alone);
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node() { life->dead = true; }

  std::shared_ptr<Life> life;
  FarBroker broker;
  FarState state;
  FarObjects objects;
  FarOutputs outputs;
  NodeFunctions functions;
  NodeEngine engine;
  Sweeper sweeper;
  DeliveryHandler handler;
  WorkerPool workers;
  TaskGroup group;
  bool ready = false;
};

class Storm {
 public:
  Storm(std::uint64_t seed, StormOptions options);
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;
  ~Storm();

  [[nodiscard]] Outcome run();

 private:
  // An object that a client puts and tells of until it is told that it was taken.
  struct Input {
    std::string bucket;
    std::string key;
    ObjectRef object;
    bool accepted = false;
  };

  static constexpr NodeBudget kBudget{.memory_bytes = 1ULL << 30, .cpu_millicores = 4000};

  void start_node(std::size_t index);
  Task<void> begin_node(Node& node);
  Task<void> define_functions(Node& node);
  void crash(std::size_t index);
  void crash(Life& life);
  void restart_when_quiet(std::size_t index);

  Task<void> bad_luck();  // crashes, pauses, clocks
  Task<void> change_weather();
  Task<void> put_inputs();
  Task<void> tell(std::size_t input);    // a client's patience
  Task<void> meddle(std::size_t input);  // takes the object away, or cancels its run
  Task<void> tell_once(Node& node, ObjectRef object, OneShot<bool> told);
  [[nodiscard]] Node* any_node();
  [[nodiscard]] StateStore& store() { return broken_state_ ? *broken_state_ : *state_; }
  [[nodiscard]] std::string unrest();
  void clear_sky();

  // checks.cc
  void check(Outcome& outcome);
  void check_row(const RunRecord& row, Outcome& outcome);
  void check_attempts(const RunRecord& row, Outcome& outcome);
  void check_outputs(const RunRecord& row, std::map<RunId, int>& expected, Outcome& outcome);
  void check_leftovers(Outcome& outcome);
  void expect_runs(const std::string& bucket, const std::string& key, const EventId& event, std::map<RunId, int>& runs);
  void expect_letters(const std::string& function, Outcome& outcome);

  template <class T>
  T wait(Task<T> task);

  std::uint64_t seed_;
  SimEventLoop loop_;
  Sky sky_;
  Metrics metrics_;
  FakeStorage storage_;
  std::unique_ptr<StateStore> state_;
  std::unique_ptr<StateStore> broken_state_;
  std::unique_ptr<Broker> real_broker_;
  BrokerShore shore_;
  Workshop workshop_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<int> lives_;
  std::vector<Input> inputs_;
  std::vector<RunRecord> rows_;
  std::map<std::string, FunctionUid> uids_;
  bool over_ = false;
  std::size_t crashes_ = 0;
  TaskGroup script_;
};

template <class T>
Task<void> keep_result(Task<T> task, std::optional<T>& value) {
  value.emplace(co_await task);
}

template <class T>
T Storm::wait(Task<T> task) {
  std::optional<T> value;
  script_.spawn(keep_result(std::move(task), value));
  for (int i = 0; i < 1'000 && !value; ++i) loop_.run_for(std::chrono::milliseconds(1));
  return std::move(*value);
}

}  // namespace millrace::storm
