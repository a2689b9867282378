// Wiring: the only place that names concrete backends. Chooses them by the configuration and opens them.
#pragma once

#include <memory>
#include <string>

#include "app/config.h"
#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "async/task.h"
#include "broker/broker.h"
#include "core/error.h"
#include "engine/registry.h"
#include "producers/watch_source.h"
#include "runtime/container/container_executor.h"
#include "runtime/launched/launcher_client.h"
#include "runtime/process/process_executor.h"
#include "state/state_store.h"
#include "storage/fs/fs_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

// In the order of opening; closed in reverse.
struct Backends {
  std::unique_ptr<FsStore> store;
  std::shared_ptr<WatchSource> watch_source;  // shared with walks of folders that may outlive a stop
  std::unique_ptr<launched::LauncherClient> launcher;
  std::unique_ptr<ContainerExecutor> container;
  std::unique_ptr<ProcessExecutor> process;
  std::unique_ptr<ContainerExecutor> oci;
  Executors executors;
  std::unique_ptr<StateStore> state;
  std::unique_ptr<Broker> broker;
};

// Everything that needs no running loop: the store, the executors.
[[nodiscard]] Result<std::unique_ptr<Backends>> open_local_backends(const Config& config, EventLoop& loop,
                                                                    BlockingPool& pool, Log& log, Metrics& metrics);

// State and broker; on the running loop. May be called again after an error: what is open stays so.
[[nodiscard]] Task<Result<void>> open_durable_backends(Backends& backends, const Config& config, EventLoop& loop,
                                                       Log& log, Metrics& metrics);

// The broker of the configuration and the durability of its confirmations, for `millrace check`. Blocks, on a loop of
// its own. An error when it cannot be reached, or confirms less than the configuration allows.
[[nodiscard]] Result<std::string> check_broker(const Config& config);

}  // namespace millrace
