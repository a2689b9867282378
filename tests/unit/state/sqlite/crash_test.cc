#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <random>
#include <set>

#include "async/task_group.h"
#include "tests/unit/state/sqlite/fixture.h"

namespace millrace::test {
namespace {

// What the writer tells by its pipe, one line each, once the task of a write has returned.
void tell(int fd, const std::string& line) {
  (void)::write(fd, (line + "\n").data(), line.size() + 1);
}

Task<void> write_for_ever(StateStore& state, std::string name, int fd) {
  for (int i = 0;; ++i) {
    const std::string run_id = name + "." + std::to_string(i);
    RunRecord run;
    run.run_id = RunId(run_id);
    run.log_tail = std::string(static_cast<std::size_t>(i % 7) * 3000, 'l');
    run.outputs.resize(static_cast<std::size_t>(i % 5));
    for (OutputFile& output : run.outputs) output.name = run_id;
    const auto committed = co_await state.runs().commit(std::move(run));
    if (committed) tell(fd, "c" + run_id);
    const auto marked = co_await state.runs().mark(RunId(run_id), {.placed = true});
    if (marked) tell(fd, "m" + run_id);
  }
}

[[noreturn]] void be_writer(const std::string& path, int round, int fd) {
  UvEventLoop loop;
  Log log{{.level = LogLevel::error}};
  Metrics metrics;
  auto opened = run_task(loop, open_sqlite_state({.path = path}, loop, log, metrics));
  if (!opened) std::_Exit(3);
  TaskGroup group(loop);
  for (int i = 0; i < 8; ++i) {
    group.spawn(write_for_ever(**opened, std::to_string(round) + "-" + std::to_string(i), fd));
  }
  loop.run();
  std::_Exit(4);
}

// Kills the writer at a moment of the writer's own progress and returns everything it had told.
std::set<std::string> kill_a_writer(const std::string& path, int round, std::size_t lines_before_kill) {
  int ends[2];  // NOLINT: pipe's own shape
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  const pid_t writer = ::fork();
  if (writer == 0) {
    ::close(ends[0]);
    be_writer(path, round, ends[1]);
  }
  ::close(ends[1]);
  std::string told;
  std::size_t lines = 0;
  bool alive = true;
  char buffer[4096];  // NOLINT: read's own shape
  for (ssize_t got = 0; (got = ::read(ends[0], buffer, sizeof buffer)) > 0;) {
    told.append(buffer, static_cast<std::size_t>(got));
    lines += static_cast<std::size_t>(std::count(buffer, buffer + got, '\n'));
    if (alive && lines >= lines_before_kill) {
      ::kill(writer, SIGKILL);
      alive = false;
    }
  }
  ::close(ends[0]);
  int status = 0;
  ::waitpid(writer, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the writer ended by itself: " << status;
  std::set<std::string> set;
  for (std::size_t at = 0, end = 0; (end = told.find('\n', at)) != std::string::npos; at = end + 1) {
    set.insert(told.substr(at, end - at));
  }
  return set;
}

class SqliteCrash : public SqliteTest {};

TEST_F(SqliteCrash, WhatAWriterWasToldIsThereAndNothingIsHalfDone) {
  constexpr int kKills = 20;
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::set<std::string> told;
  for (int round = 0; round < kKills; ++round) {
    told.merge(kill_a_writer(path_, round, 1 + random() % 400));
  }

  auto opened = open();
  ASSERT_TRUE(opened) << opened.error().message;
  std::size_t found = 0;
  RunFilter filter;
  filter.limit = kRunListMax;
  for (;;) {
    const auto page = run((*opened)->runs().list(filter));
    ASSERT_TRUE(page) << page.error().message;
    if (page->empty()) break;
    for (const RunRecord& row : *page) {
      const std::string run_id = row.run_id.str();
      int number = 0;
      std::from_chars(run_id.data() + run_id.find('.') + 1, run_id.data() + run_id.size(), number);
      EXPECT_EQ(row.outputs.size(), static_cast<std::size_t>(number % 5)) << run_id;
      if (told.erase("m" + run_id) != 0) EXPECT_TRUE(row.placed) << run_id;
      told.erase("c" + run_id);
      ++found;
    }
    filter.before = page->back().run_id;
  }
  EXPECT_GE(found, static_cast<std::size_t>(kKills));
  EXPECT_TRUE(told.empty()) << told.size() << " writes were confirmed and are gone, such as " << *told.begin();
  close(opened);
}

}  // namespace
}  // namespace millrace::test
