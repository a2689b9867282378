// Writes to a state store as fast as it can and tells on standard output what it was told, until it is killed; or tells
// what is there. For tests that kill it, or the power.
//
//   state_writer BACKEND PATH FIRST           writes the runs from number FIRST on: those below are there from earlier
//   lives state_writer BACKEND PATH read LAST       what is there of the runs up to number LAST
//
// Lines: "b RUN TOKEN" an attempt began; "e RUN TOKEN" it ended; "c RUN TOKEN" this attempt's record stands; "m RUN" it
// is marked, and what the mark brings along is there. "half RUN": a mark without what it brings; never written, only
// read. A power cut may take the last "b" lines, those behind every other line.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "async/task_group.h"
#include "async/uv_event_loop.h"
#include "core/ids.h"
#ifdef MILLRACE_WITH_POSTGRES
#include "state/postgres/postgres_state.h"
#endif
#include "state/sqlite/sqlite_state.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {
namespace {

constexpr int kLanes = 6;
constexpr const char* kTrigger = "trigger";

// In one write, unbuffered: what was told before the kill has arrived.
void tell(const std::string& line) {
  const std::string whole = line + "\n";
  if (::write(STDOUT_FILENO, whole.data(), whole.size()) < 0) std::exit(3);
}

[[noreturn]] void give_up(const Error& error) {
  std::fprintf(stderr, "%s\n", error.message.c_str());
  std::exit(4);
}

std::string run_of(int lane, int number) {
  return std::to_string(lane) + "." + std::to_string(number);
}

RunRecord record_of(const std::string& run_id, const AttemptToken& token, int number) {
  RunRecord record;
  record.run_id = RunId(run_id);
  record.token = token;
  record.log_tail = std::string(static_cast<std::size_t>(number % 5) * 2000, 'l');
  record.outputs.resize(static_cast<std::size_t>(number % 4));
  for (auto& output : record.outputs) output.name = token.str();
  return record;
}

// Two of these work on every lane: each run is a race.
Task<void> write_lane(StateStore& state, int lane, int number) {
  for (;; ++number) {
    const std::string run_id = run_of(lane, number);
    Attempt attempt;
    attempt.run_id = RunId(run_id);
    attempt.token = AttemptToken(random_hex(16));
    const std::string named = run_id + " " + attempt.token.str();
    const auto begun = co_await state.runs().begin_attempt(attempt);
    if (!begun) give_up(begun.error());
    if (!*begun) {
      tell("b " + named);
      attempt.outcome = AttemptOutcome::failed;
      const auto ended = co_await state.runs().end_attempt(attempt);
      if (!ended) give_up(ended.error());
      tell("e " + named);
    }
    const auto committed = co_await state.runs().commit(record_of(run_id, attempt.token, number));
    if (!committed) give_up(committed.error());
    tell("c " + run_id + " " + committed->standing.token.str());
    const auto marked = co_await state.runs().mark(
        RunId(run_id), {.placed = true, .seen = {{kTrigger, {{run_id, EventId("event of " + run_id)}}}}});
    if (!marked) give_up(marked.error());
    tell("m " + run_id);
  }
}

Task<void> read_run(StateStore& state, std::string run_id) {
  const auto attempts = co_await state.runs().attempts(RunId(run_id));
  if (!attempts) give_up(attempts.error());
  for (const auto& attempt : *attempts) {
    tell("b " + run_id + " " + attempt.token.str());
    if (attempt.outcome) tell("e " + run_id + " " + attempt.token.str());
  }
  const auto found = co_await state.runs().get(RunId(run_id));
  if (!found) give_up(found.error());
  const auto seen = co_await state.seen().get(kTrigger, run_id);
  if (!seen) give_up(seen.error());
  const bool marked = *found && (*found)->placed;
  if (marked != seen->has_value()) tell("half " + run_id);
  if (marked) tell("m " + run_id);
  if (*found) tell("c " + run_id + " " + (*found)->token.str());
}

// PATH is a file of SQLite's, or a URL.
Task<Result<std::unique_ptr<StateStore>>> open_state(std::string path, EventLoop& loop, Log& log, Metrics& metrics) {
#ifdef MILLRACE_WITH_POSTGRES
  if (is_postgres_url(path)) return open_postgres_state({.url = std::move(path)}, loop, log, metrics);
#endif
  return open_sqlite_state({.path = std::move(path)}, loop, log, metrics);
}

Task<void> run(UvEventLoop& loop, std::string path, bool is_reading, int number, Metrics& metrics, Log& log) {
  auto state = co_await open_state(path, loop, log, metrics);
  if (!state) give_up(state.error());
  if (is_reading) {
    for (int lane = 0; lane < kLanes; ++lane) {
      for (int i = 0; i <= number; ++i) co_await read_run(**state, run_of(lane, i));
    }
    co_await (*state)->close();
    loop.stop();
    co_return;
  }
  TaskGroup group(loop);
  for (int lane = 0; lane < kLanes; ++lane) {
    group.spawn(write_lane(**state, lane, number));
    group.spawn(write_lane(**state, lane, number));
  }
  co_await group.join();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  const bool is_reading = argc == 5 && std::string_view(argv[3]) == "read";
  if ((argc != 4 && !is_reading)) return 2;
  millrace::UvEventLoop loop;
  millrace::Metrics metrics;
  millrace::Log log{{.level = millrace::LogLevel::error}};
  millrace::TaskGroup group(loop);
  group.spawn(millrace::run(loop, argv[2], is_reading, std::atoi(argv[argc - 1]), metrics, log));
  loop.run();
}
