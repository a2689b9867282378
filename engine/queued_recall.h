// What was queued before this node's start: read back from the broker, so that such runs are listed and can be
// cancelled like those that were published since.
//
//   background.spawn(recall_queued({.registry = registry, .broker = broker, ...}, queued_max, stop));
//
// In the background: starting waits for nobody's backlog. Of a very long one the oldest are known. A broker that does
// not tell (Capabilities::lists_waiting) is not asked.
//
// Threads: the domain loop.
#pragma once

#include <cstddef>
#include <stop_token>

#include "async/task.h"
#include "broker/broker.h"
#include "core/ids.h"
#include "engine/registry.h"
#include "engine/run_table.h"
#include "state/state_store.h"
#include "telemetry/log.h"

namespace millrace {

struct QueuedRecall {
  const Registry& registry;
  Broker& broker;
  StateStore& state;
  RunTable& runs;
  UlidMaker& ulids;  // what it makes ranks behind what was queued
  Log& log;
};

// At most `max` messages are looked at.
[[nodiscard]] Task<void> recall_queued(QueuedRecall parts, std::size_t max, std::stop_token stop);

// The run that a message of this function stands for: a redrive supersedes the failures before it.
[[nodiscard]] Task<Result<RunId>> run_of(RunStore& runs, const FunctionSpec& function, const WaitingMessage& message);

}  // namespace millrace
