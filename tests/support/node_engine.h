// A node's engine, wired as the daemon wires it, over whatever broker, stores and executor a test gives it.
//
//   NodeEngine engine(loop, {broker, state, storage, storage, executor}, budget);
//   auto accepted = co_await engine.ingest.object_created(object);
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "broker/broker.h"
#include "engine/admission.h"
#include "engine/circuits.h"
#include "engine/finish.h"
#include "engine/ingest.h"
#include "engine/invoker.h"
#include "engine/live_logs.h"
#include "engine/registry.h"
#include "engine/replay.h"
#include "engine/run_feed.h"
#include "engine/run_stats.h"
#include "engine/run_table.h"
#include "engine/stage_in.h"
#include "engine/synchronous.h"
#include "runtime/executor.h"
#include "state/state_store.h"
#include "storage/object_store.h"
#include "storage/output_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

// What a node reaches through ports. All of it outlives the node.
struct Outside {
  Broker& broker;
  StateStore& state;
  ObjectStore& objects;
  OutputStore& outputs;
  Executor& executor;
};

// On any loop. Its pool has no threads: what needs one has a pool of its own.
struct NodeEngine {
  NodeEngine(EventLoop& loop, Outside outside, NodeBudget budget, const std::string& name = "node-1",
             std::uint64_t seed = 7)
      : log({.level = LogLevel::error, .format = LogFormat::text, .fd = 2}),
        ulids(seed),
        pool(loop, {.threads = 0}),
        feed(loop, {.readers_max = 3, .news_max = 10}, metrics),
        stats(loop),
        logs(loop),
        circuits(loop, {}, metrics, log),
        admission(loop, budget),
        registry(loop, outside.state.functions(), outside.broker, outside.objects, executors, ulids,
                 std::chrono::seconds(30), log),
        ingest(loop, registry, outside.broker, outside.state.seen(), runs, ulids),
        stage_in(outside.objects, pool, "/nonexistent"),
        invoker(loop, executors, stage_in, outside.outputs, outside.state, name, log, metrics),
        finish(outside.outputs, outside.state, ingest, registry),
        events(outside.objects, pool, outside.state.runs(), registry.topics()),
        calls(loop, registry, ingest, admission, invoker, finish, outside.state, runs),
        replay(loop, registry, ingest, outside.objects, outside.outputs, outside.state, runs, ulids) {
    executors.add(ExecutorKind::container, outside.executor);
    runs.listen(feed);
    runs.listen(stats);
    invoker.show_logs(logs);
    finish.publish_events_with(events);
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
  UlidMaker ulids;
  Executors executors;
  BlockingPool pool;
  RunTable runs;
  RunFeed feed;
  RunStats stats;
  LiveLogs logs;
  Circuits circuits;
  Admission admission;
  Registry registry;
  Ingest ingest;
  StageIn stage_in;
  Invoker invoker;
  Finish finish;
  TopicOutputs events;
  SynchronousCalls calls;
  Replay replay;
};

}  // namespace millrace
