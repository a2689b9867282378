#include "broker/log/log_broker.h"

#include <algorithm>
#include <string>
#include <utility>

#include "async/blocking_pool.h"
#include "broker/embedded_broker.h"
#include "broker/log/log_journal.h"
#include "broker/log/recovery.h"
#include "broker/log/segment_format.h"
#include "broker/log/segment_set.h"

namespace millrace {
namespace {

// Files that hold nothing become spares of the right size; more than a few are given back.
Result<void> put_away(LogFiles& files, wal::Recovered& recovered, std::uint64_t segment_bytes) {
  for (const auto& name : std::exchange(recovered.stale, {})) {
    const std::string spare = std::string(wal::kSpareName) + name;
    if (auto renamed = files.rename(name, spare); !renamed) return renamed;
    recovered.spares.push_back(spare);
  }
  if (auto synced = files.sync(); !synced) return synced;
  for (const auto& name : std::exchange(recovered.spares, {})) {
    const auto file = files.open(name);
    const auto size = file ? (*file)->size() : Result<std::uint64_t>(0);
    if (size && *size == segment_bytes && recovered.spares.size() < wal::kSparesMax) {
      recovered.spares.push_back(name);
    } else if (auto removed = files.remove(name); !removed) {
      return removed;
    }
  }
  return {};
}

// What a log cannot do without: a segment to write to, and one in reserve.
Result<void> fill_up(LogFiles& files, wal::Recovered& recovered, std::uint64_t segment_bytes) {
  while (recovered.segments.empty() || recovered.prepared.empty()) {
    const bool first = recovered.segments.empty();
    const std::uint32_t epoch = first ? 1 : recovered.segments.rbegin()->first + 1;
    const wal::SegmentHeader header{.epoch = epoch,
                                    .oldest = first ? 1 : recovered.segments.begin()->first,
                                    .segment_bytes = segment_bytes,
                                    .salt = wal::random_salt(),
                                    .id_key = recovered.id_key};
    std::string spare;
    if (!recovered.spares.empty()) {
      spare = recovered.spares.back();
      recovered.spares.pop_back();
    }
    auto made = wal::make_segment(files, spare, header);
    if (!made) {
      if (!spare.empty()) recovered.spares.push_back(spare);
      // A full disk does not keep what is there from being worked off.
      if (!first && made.error().code == Errc::no_space) return {};
      return fail(std::move(made.error()));
    }
    if (first) {
      recovered.segments.emplace(epoch, std::move(*made));
    } else {
      recovered.prepared.push_back(std::move(*made));
    }
  }
  return {};
}

std::string some_of(const std::vector<std::string>& names) {
  std::string text = "'" + names.front().substr(0, 100) + "'";
  if (names.size() > 1) text += " and " + std::to_string(names.size() - 1) + " more";
  return text;
}

Result<wal::Recovered> open_blocking(LogFiles& files, const wal::RecoveryOptions& options) {
  if (auto locked = files.lock(); !locked) return fail(std::move(locked.error()));
  auto recovered = wal::recover(files, options);
  if (!recovered) return recovered;
  if (recovered->segments.empty()) {
    if (!recovered->foreign.empty()) {
      return fail(Errc::failed_precondition, "there is no log in " + files.path_of("") + ", but " +
                                                 some_of(recovered->foreign) +
                                                 "; a new log wants an empty directory: name another one");
    }
    recovered->id_key = {wal::random_salt(), wal::random_salt()};
  }
  if (auto put = put_away(files, *recovered, options.segment_bytes); !put) return fail(std::move(put.error()));
  if (auto filled = fill_up(files, *recovered, options.segment_bytes); !filled) return fail(std::move(filled.error()));
  return recovered;
}

Result<void> check_options(const LogBrokerOptions& options) {
  if (options.segment_bytes < wal::kSegmentBytesMin || options.segment_bytes > wal::kSegmentBytesMax ||
      options.segment_bytes % 4096 != 0) {
    return fail(Errc::invalid_argument, "a log segment of " + std::to_string(options.segment_bytes) +
                                            " bytes: expected a multiple of 4096 between 1 MiB and 256 MiB");
  }
  return {};
}

}  // namespace

Task<Result<std::unique_ptr<Broker>>> open_log_broker(LogBrokerOptions options, EventLoop& loop, Metrics& metrics,
                                                      Log& log) {
  if (auto ok = check_options(options); !ok) co_return fail(ok.error());
  auto files = open_log_directory(options.directory);
  if (!files) co_return fail(std::move(files.error()));
  auto opening = open_log_broker(std::move(options), std::move(*files), loop, metrics, log);
  auto opened = co_await opening;
  co_return std::move(opened);
}

Task<Result<std::unique_ptr<Broker>>> open_log_broker(LogBrokerOptions options, std::shared_ptr<LogFiles> files,
                                                      EventLoop& loop, Metrics& metrics, Log& log) {
  if (auto ok = check_options(options); !ok) co_return fail(ok.error());
  // Two threads: reading back must not wait for a segment that is being made.
  auto pool = std::make_unique<BlockingPool>(loop, BlockingPool::Options{.threads = 2, .queued_max = 1024});
  const wal::RecoveryOptions recovery{.segment_bytes = options.segment_bytes,
                                      .dedupe_ids_max = options.dedupe_ids_max,
                                      .now = loop.now(),
                                      .wall_now = loop.wall_now()};
  auto recovered = co_await pool->run([files, recovery] { return open_blocking(*files, recovery); });
  if (!recovered) co_return fail(recovered.error().with("open the log"));
  log.info("log opened", {{"directory", files->path_of("")},
                          {"messages", recovered->messages},
                          {"segments", recovered->segments.size()},
                          {"attempts_cut_off", recovered->cut_off.size()},
                          {"unfinished_bytes_dropped", recovered->dropped_bytes}});

  if (!recovered->foreign.empty()) {
    log.warn("the directory of the log holds what is not of a log; it is left alone",
             {{"directory", files->path_of("")}, {"files", some_of(recovered->foreign)}});
  }

  const wal::JournalOptions journal_options{.segment_bytes = options.segment_bytes,
                                            .cache_bytes_max = options.cache_bytes_max,
                                            .queue_bytes_max = options.queue_bytes_max,
                                            .ack_linger = options.ack_linger};
  auto topics = std::move(recovered->topics);
  auto journal = std::make_unique<wal::LogJournal>(loop, metrics, log, journal_options, std::move(pool), files,
                                                   *recovered, *topics);
  // The losses that this start counted, before anybody can act on them. Where there is no room for them, the next start
  // counts the same ones, and a message's next attempt begins with all of them on record or not at all.
  for (const auto& [group, entry] : recovered->cut_off) {
    const auto left = entry->due().value_or(loop.now()) - loop.now();
    const auto delay = std::chrono::ceil<std::chrono::milliseconds>(std::max(left, EventLoop::Duration(0)));
    const auto written = journal->write_entry(*group, *entry, delay);
    if (!written && written.error().code == Errc::no_space) break;
    if (!written) co_return fail(written.error());
  }
  auto confirmed = co_await journal->confirm();
  if (!confirmed) co_return fail(confirmed.error());
  co_return std::make_unique<EmbeddedBroker>(loop, metrics,
                                             EmbeddedBroker::Options{.topics_max = options.topics_max,
                                                                     .topic_bytes_max = options.topic_bytes_max,
                                                                     .topic_messages_max = options.topic_messages_max,
                                                                     .log = &log},
                                             std::move(topics), std::move(journal));
}

}  // namespace millrace
