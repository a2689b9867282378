// The state store on PostgreSQL: for several daemons that share specs and committed rows.
//
//   auto state = co_await open_postgres_state({.url = "postgres://millrace@db.example/millrace"}, loop, log, metrics);
//   ...
//   co_await (*state)->close();
//
// Two connections, driven by the loop: one writes, in batches that share one sync of the server's log, one reads. When
// the server goes away, calls wait for it for a moment and are `unavailable` from then on until it is back; a write
// that was on its way then may have happened, and may be asked again. Destroying an open store drops what is queued.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "async/event_loop.h"
#include "async/task.h"
#include "core/error.h"
#include "state/state_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

struct PostgresOptions {
  std::string url;                                 // postgres://user@host:port/database?option=value, no password
  std::size_t writes_queued_bytes_max = 64 << 20;  // further writers wait; one write counts at least 4 KiB
  std::size_t reads_queued_max = 1024;             // further readers wait
  std::size_t reads_in_flight_max = 16;
  std::size_t batch_writes_max = 1024;           // that share one sync
  std::chrono::milliseconds patience{2'000};     // of a call, for a server that is away
  std::chrono::milliseconds start_wait{60'000};  // for a server that is not there yet
  std::chrono::milliseconds answer_max{70'000};  // without a word of the server while it owes one
  bool allow_weak_durability = false;            // take a server that confirms what a crash may take back
};

[[nodiscard]] bool is_postgres_url(const std::string& url);

// What is at the URL, for people: "PostgreSQL 15.4, synced, at postgres://host:5432/database". Changes nothing; blocks
// for a few seconds at most. A server that may lose what it confirms is `failed_precondition`.
[[nodiscard]] Result<std::string> check_postgres(const std::string& url);

// Creates the tables where they are missing, brings older ones up to date and leaves newer ones alone.
// `invalid_argument`: the URL; `permission_denied`, `not_found`: user and database; `failed_precondition`: tables of a
// newer build or of somebody else's, a weak server, certificates; `unavailable`: it did not come within `start_wait`.
[[nodiscard]] Task<Result<std::unique_ptr<StateStore>>> open_postgres_state(PostgresOptions options, EventLoop& loop,
                                                                            Log& log, Metrics& metrics);

}  // namespace millrace
