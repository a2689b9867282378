// The broker embedded in the daemon, on a log in a directory of its own: confirmed means on stable storage. One process
// at a time; no server, no other package.
//
//   auto broker = co_await open_log_broker({.directory = data / "log"}, loop, metrics, log);
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>

#include "async/event_loop.h"
#include "async/task.h"
#include "broker/broker.h"
#include "broker/log/log_files.h"
#include "core/error.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

struct LogBrokerOptions {
  std::filesystem::path directory;
  std::uint64_t segment_bytes = 64ULL << 20;    // 1 MiB to 256 MiB; applies to segments made from now on
  std::uint64_t cache_bytes_max = 4ULL << 20;   // of waiting messages kept in memory; the others are read back
  std::uint64_t queue_bytes_max = 16ULL << 20;  // not yet on disk; beyond that publishes wait
  std::chrono::milliseconds ack_linger{2};      // an ack waits so long for a publish or a begin to share its sync with
  std::size_t dedupe_ids_max = 1'000'000;       // remembered per topic, the oldest are forgotten first
  std::size_t topics_max = 10'000;
  std::uint64_t topic_bytes_max = 1ULL << 40;  // of each topic; beyond them publishes get `no_space`
  std::uint64_t topic_messages_max = 10'000'000;
};

// Reads the log back (about 2 GB a second, if the disk gives it) and goes on with it. Errors: invalid_argument
// (options), failed_precondition (another process has it, or a newer Millrace wrote it), data_loss (naming file and
// offset; nothing was changed), no_space, unavailable.
[[nodiscard]] Task<Result<std::unique_ptr<Broker>>> open_log_broker(LogBrokerOptions options, EventLoop& loop,
                                                                    Metrics& metrics, Log& log);

// The same on other files, for tests.
[[nodiscard]] Task<Result<std::unique_ptr<Broker>>> open_log_broker(LogBrokerOptions options,
                                                                    std::shared_ptr<LogFiles> files, EventLoop& loop,
                                                                    Metrics& metrics, Log& log);

}  // namespace millrace
