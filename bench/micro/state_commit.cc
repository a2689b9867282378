// Commits of run records with two outputs each: through the state store with so many in flight, beside a plain loop
// over SQLite that writes the same bytes, one row and one sync after the other. `loop_us` is the loop thread's own CPU
// time a commit.
#include <benchmark/benchmark.h>
#include <sqlite3.h>
#include <time.h>  // NOLINT(modernize-deprecated-headers): clock_gettime is POSIX

#include <filesystem>
#include <string>

#include "async/task_group.h"
#include "async/uv_event_loop.h"
#include "state/sqlite/sqlite_state.h"

namespace millrace {
namespace {

// In the working directory: /tmp is often memory, where a sync costs nothing.
struct Directory {
  std::string path = (std::filesystem::current_path() / "bench-state-XXXXXX").string();
  Directory() {
    if (::mkdtemp(path.data()) == nullptr) std::abort();
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { std::filesystem::remove_all(path); }
};

std::int64_t thread_cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

RunRecord record(std::int64_t number) {
  const std::string id = std::to_string(0x9E3779B97F4A7C15ULL * static_cast<std::uint64_t>(number + 1));
  RunRecord run;
  run.run_id = RunId(id + "-0123456789ab");
  run.event_id = EventId(id + "-ba9876543210");
  run.function = "resize";
  run.committed_at = std::chrono::system_clock::now();
  run.log_tail = std::string(1000, 'l');
  run.outputs.resize(2);
  for (OutputFile& output : run.outputs) {
    output.name = "thumbnail.jpg";
    output.bucket = "videos";
    output.key = "thumbnails/" + id + ".jpg";
    output.source_path = "videos/.millrace/00/" + id + "/" + id;
    output.private_path = output.source_path;
    output.sha256 = std::string(64, 'a');
  }
  return run;
}

Task<void> commit_all(StateStore& state, std::int64_t& next, std::int64_t end, std::int64_t& failed) {
  while (next < end) {
    const auto done = co_await state.runs().commit(record(next++));
    if (!done) ++failed;
  }
}

Task<void> run_all(UvEventLoop& loop, StateStore& state, std::int64_t in_flight, std::int64_t end,
                   std::int64_t& failed) {
  std::int64_t next = 0;
  TaskGroup group(loop);
  for (std::int64_t i = 0; i < in_flight; ++i) group.spawn(commit_all(state, next, end, failed));
  co_await group.join();
  co_await state.close();
  loop.stop();
}

Task<void> open_state(UvEventLoop& loop, std::string path, Log& log, Metrics& metrics,
                      std::unique_ptr<StateStore>& state) {
  auto opened = co_await open_sqlite_state({.path = path}, loop, log, metrics);
  if (opened) state = std::move(*opened);
  loop.stop();
}

void state_store(benchmark::State& bench) {
  constexpr std::int64_t kCommits = 4'000;
  for (auto _ : bench) {
    const Directory directory;
    UvEventLoop loop;
    Log log{{.level = LogLevel::error}};
    Metrics metrics;
    std::unique_ptr<StateStore> state;
    TaskGroup group(loop);
    group.spawn(open_state(loop, directory.path + "/state.db", log, metrics, state));
    loop.run();
    if (!state) return bench.SkipWithError("cannot open the store");
    std::int64_t failed = 0;
    const auto commits = bench.range(0) == 1 ? kCommits / 4 : kCommits;
    const auto cpu = thread_cpu_ns();
    const auto start = std::chrono::steady_clock::now();
    group.spawn(run_all(loop, *state, bench.range(0), commits, failed));
    loop.run();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    if (failed != 0) return bench.SkipWithError("a commit failed");
    bench.SetIterationTime(took.count());
    bench.counters["loop_us"] = static_cast<double>(thread_cpu_ns() - cpu) / 1e3 / static_cast<double>(commits);
    bench.counters["commits/s"] = static_cast<double>(commits) / took.count();
  }
}
BENCHMARK(state_store)->Arg(1)->Arg(16)->Arg(256)->Iterations(3)->UseManualTime();

void raw_sqlite(benchmark::State& bench) {
  constexpr std::int64_t kCommits = 1'000;
  for (auto _ : bench) {
    const Directory directory;
    sqlite3* database = nullptr;
    sqlite3_open((directory.path + "/raw.db").c_str(), &database);
    sqlite3_exec(database,
                 "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                 "CREATE TABLE t (run_id TEXT PRIMARY KEY, event_id TEXT, at INTEGER, log BLOB, outputs TEXT)",
                 nullptr, nullptr, nullptr);
    sqlite3_stmt* insert = nullptr;
    sqlite3_prepare_v2(database, "INSERT INTO t VALUES (?, ?, ?, ?, ?)", -1, &insert, nullptr);
    const auto start = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i < kCommits; ++i) {
      const RunRecord run = record(i);
      std::string outputs;
      for (const OutputFile& file : run.outputs) {
        outputs += file.name + file.bucket + file.key + file.source_path + file.private_path + file.sha256;
      }
      sqlite3_bind_text(insert, 1, run.run_id.str().data(), static_cast<int>(run.run_id.str().size()), SQLITE_STATIC);
      sqlite3_bind_text(insert, 2, run.event_id.str().data(), static_cast<int>(run.event_id.str().size()),
                        SQLITE_STATIC);
      sqlite3_bind_int64(insert, 3, i);
      sqlite3_bind_blob(insert, 4, run.log_tail.data(), static_cast<int>(run.log_tail.size()), SQLITE_STATIC);
      sqlite3_bind_text(insert, 5, outputs.data(), static_cast<int>(outputs.size()), SQLITE_STATIC);
      if (sqlite3_step(insert) != SQLITE_DONE) return bench.SkipWithError("an insert failed");
      sqlite3_reset(insert);
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    sqlite3_finalize(insert);
    sqlite3_close(database);
    bench.SetIterationTime(took.count());
    bench.counters["commits/s"] = static_cast<double>(kCommits) / took.count();
  }
}
BENCHMARK(raw_sqlite)->Iterations(3)->UseManualTime();

}  // namespace
}  // namespace millrace
