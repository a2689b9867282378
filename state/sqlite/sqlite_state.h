// The state store on SQLite: one file, write-ahead log, every commit synced. For one daemon.
//
//   auto state = co_await open_sqlite_state({.path = data + "/state.db"}, loop, log, metrics);
//   ...
//   co_await (*state)->close();
//
// Two threads of its own: one writes, in batches that share one sync, one reads; the loop's thread only queues. A lock
// file beside the database keeps a second daemon out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "async/event_loop.h"
#include "async/task.h"
#include "core/error.h"
#include "state/state_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

struct SqliteOptions {
  std::string path;                                // its directory exists; `<path>.lock` is ours, too
  std::size_t writes_queued_bytes_max = 64 << 20;  // further writers wait; one write counts at least 4 KiB
  std::size_t reads_queued_max = 1024;             // further readers wait
  std::size_t batch_writes_max = 1024;             // that share one sync
  std::uint64_t size_bytes_max = 1ULL << 40;       // of the database; `no_space` beyond
};

// Creates the file where it is missing, brings an older schema up to date and leaves a newer one alone.
// `failed_precondition`: in use by another process, not ours, or written by a newer build; `permission_denied`,
// `not_found`: the directory; `data_loss`: not a database or corrupt.
[[nodiscard]] Task<Result<std::unique_ptr<StateStore>>> open_sqlite_state(SqliteOptions options, EventLoop& loop,
                                                                          Log& log, Metrics& metrics);

}  // namespace millrace
