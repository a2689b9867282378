// Kills a process that writes to a store, again and again, and looks at what the store holds then.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "core/fd.h"
#include "tests/contract/state/backends.h"

namespace millrace::test {
namespace {

constexpr int kKills = 15;
constexpr std::size_t kNoKill = ~std::size_t{0};

// Runs state_writer with these arguments, kills it after so many lines, and returns all that it said.
std::set<std::string> lines_of(std::vector<std::string> arguments, std::size_t kill_after) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  Fd reading(ends[0]);
  Fd writing(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, writing.get(), STDOUT_FILENO);
  arguments.insert(arguments.begin(), MILLRACE_STATE_WRITER);
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  EXPECT_EQ(error, 0);
  if (error != 0) return {};
  writing.reset();

  std::string told;
  std::array<char, 65536> buffer{};
  std::size_t lines = 0;
  bool killed = false;
  for (ssize_t got = 0; (got = ::read(reading.get(), buffer.data(), buffer.size())) > 0;) {
    told.append(buffer.data(), static_cast<std::size_t>(got));
    lines += static_cast<std::size_t>(std::count(buffer.begin(), buffer.begin() + got, '\n'));
    if (!killed && lines >= kill_after) killed = ::kill(pid, SIGKILL) == 0;
  }
  int status = 0;
  EXPECT_EQ(::waitpid(pid, &status, 0), pid);
  const bool as_wanted = kill_after == kNoKill ? WIFEXITED(status) && WEXITSTATUS(status) == 0 : WIFSIGNALED(status);
  EXPECT_TRUE(as_wanted) << "the writer ended with status " << status;
  std::set<std::string> all;
  std::istringstream text(told);
  for (std::string line; std::getline(text, line);) all.insert(line);
  return all;
}

int last_number(const std::set<std::string>& lines) {
  int last = 0;
  for (const auto& line : lines) last = std::max(last, std::atoi(line.c_str() + line.find('.') + 1));
  return last;
}

class KillContract : public testing::TestWithParam<Backend> {};

TEST_P(KillContract, WhatAWriterWasToldStandsAfterItsDeathAndNothingIsHalfDone) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto place = make_place(GetParam());
  const std::string backend = testing::PrintToString(GetParam());
  const std::string path = place->where();
  std::set<std::string> told;
  for (int round = 0; round < kKills; ++round) {
    // Some way back: rows of earlier lives stand against the commits of this one.
    const int first = std::max(0, last_number(told) - 10);
    told.merge(lines_of({backend, path, std::to_string(first)}, 1 + random() % 800));
  }
  const auto there = lines_of({backend, path, "read", std::to_string(last_number(told))}, kNoKill);
  std::size_t commits = 0;
  for (const auto& line : told) {
    // Of two tokens told for one run, one would be missing here.
    EXPECT_TRUE(there.contains(line)) << "told and gone: " << line;
    commits += line.starts_with("c ") ? 1 : 0;
  }
  for (const auto& line : there) EXPECT_FALSE(line.starts_with("half ")) << line;
  EXPECT_GT(commits, static_cast<std::size_t>(kKills));
}

INSTANTIATE_TEST_SUITE_P(Backends, KillContract, testing::ValuesIn(durable_backends()), backend_name);

}  // namespace
}  // namespace millrace::test
