// An engine of stand-ins on a simulated loop, with functions that take objects of bucket "b".
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "async/task_group.h"
#include "engine/ingest.h"
#include "engine/registry.h"
#include "engine/run_table.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "tests/unit/producers/fake_objects.h"
#include "tests/unit/producers/fake_stores.h"

namespace millrace::test {

class ProducerRig {
 public:
  ProducerRig()
      : log({.level = LogLevel::error}),
        objects(loop),
        checks(loop),
        outputs(loop),
        seen(loop),
        runs(loop),
        broker(loop),
        ulids(1),
        registry(loop, functions, broker, objects, executors, ulids, std::chrono::seconds(30), log),
        ingest(loop, registry, broker, seen, table, ulids) {}

  // A task that needs no time to pass.
  template <class T>
  T run(Task<T> task) {
    std::optional<T> result;
    TaskGroup group(loop);
    group.spawn(keep(std::move(task), result));
    loop.run_for(EventLoop::Duration(0));
    if (!result) throw std::runtime_error("the task waits");
    return std::move(*result);
  }

  // Before load(). `folder`: "" for the whole bucket, else "/in".
  FunctionSpec& function(const std::string& name, const std::string& folder = "") {
    FunctionSpec spec;
    spec.name = name;
    spec.uid = FunctionUid("uid-" + name);
    spec.revision = 1;
    spec.inputs.push_back({.storage = {.provider = "local", .path = "b" + folder}});
    functions.stored.push_back(spec);
    return functions.stored.back();
  }

  void load() {
    if (!run(registry.load())) throw std::runtime_error("load");
  }

  [[nodiscard]] Trigger trigger(const std::string& name) const { return triggers_of(registry.find(name)).front(); }

  [[nodiscard]] ObjectRef object(const std::string& key) const {
    return {.bucket = "b", .key = key, .version = objects.version(key), .private_path = {}};
  }

  [[nodiscard]] EventId id_of(const std::string& key) const { return object_event_id(object(key)); }

  void seen_already(const std::string& name, const std::string& key) {
    seen.rows[trigger(name).id][key] = object_event_id(object(key));
  }

  [[nodiscard]] std::vector<std::string> taken(const std::string& name) { return broker.accepted[work_topic(name)]; }

  SimEventLoop loop;
  Metrics metrics;
  Log log;
  FakeObjects objects;
  FakeChecks checks;
  FakeOutputs outputs;
  FakeFunctions functions;
  FakeSeen seen;
  FakeRuns runs;
  FakeBroker broker;
  Executors executors;
  UlidMaker ulids;
  RunTable table;
  Registry registry;
  Ingest ingest;

 private:
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>& result) {
    T value = co_await task;
    result.emplace(std::move(value));
  }
};

}  // namespace millrace::test
