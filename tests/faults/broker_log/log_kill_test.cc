// Kills a process that publishes and acks, again and again, and looks at what its log holds.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "async/task_group.h"
#include "broker/log/log_broker.h"
#include "core/fd.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "tests/support/manual_loop.h"
#include "tests/support/temp_dir.h"

namespace millrace {
namespace {

constexpr int kKills = 20;

struct Told {
  std::set<int> published;
  std::set<int> ack_sent;
  std::set<int> acked;
  std::vector<int> losses;  // at each begin
  int last_id = 0;

  void line(const std::string& text) {
    if (text.size() < 3) return;
    const int id = std::atoi(text.c_str() + 2);
    if (text[0] == 'b') return losses.push_back(id);
    last_id = std::max(last_id, id);
    (text[0] == 'p' ? published : text[0] == 's' ? ack_sent : acked).insert(id);
  }
};

// Starts the writer, kills it after so many lines, and reads the rest of what it said.
void run_and_kill(const std::string& directory, std::string what, std::size_t lines, Told& told) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  Fd reading(ends[0]);
  Fd writing(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, writing.get(), STDOUT_FILENO);
  std::string program = MILLRACE_LOG_WRITER;
  std::array<char*, 4> arguments{program.data(), const_cast<char*>(directory.c_str()), what.data(), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, program.c_str(), &actions, nullptr, arguments.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ASSERT_EQ(error, 0);
  writing.reset();

  std::string rest;
  std::array<char, 65536> buffer{};
  bool killed = false;
  std::size_t seen = 0;
  for (;;) {
    const auto size = ::read(reading.get(), buffer.data(), buffer.size());
    if (size <= 0) break;
    rest.append(buffer.data(), static_cast<std::size_t>(size));
    std::size_t start = 0;
    for (auto end = rest.find('\n'); end != std::string::npos; start = end + 1, end = rest.find('\n', start), ++seen) {
      told.line(rest.substr(start, end - start));
    }
    rest.erase(0, start);
    if (!killed && seen >= lines) {
      killed = true;
      ASSERT_EQ(::kill(pid, SIGKILL), 0);
    }
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "the writer ended by itself, status " << status;
}

class Reader {
 public:
  explicit Reader(const std::string& directory) {
    options_.directory = directory;
    options_.segment_bytes = 1 << 20;
    options_.ack_linger = std::chrono::milliseconds(0);  // time stands still while the reader waits
  }
  ~Reader() { broker_.reset(); }

  // Ids of everything the log holds, each once.
  std::set<int> all() {
    std::set<int> ids;
    bool done = false;
    TaskGroup group(loop_);
    group.spawn(read(ids, done));
    EXPECT_TRUE(loop_.run_until([&] { return done; }));
    return ids;
  }

 private:
  Task<void> read(std::set<int>& ids, bool& done) {
    auto opened = co_await open_log_broker(options_, loop_, metrics_, log_);
    EXPECT_TRUE(opened) << opened.error().message;
    if (opened) {
      broker_ = std::move(*opened);
      loop_.advance(std::chrono::hours(2));  // what was given back is due
      auto subscription = co_await broker_->subscribe({.topic = "t", .group = "g"});
      const auto lag = co_await broker_->lag("t", "g");
      EXPECT_TRUE(subscription && lag);
      const std::uint64_t count = lag ? lag->open() : 0;
      (*subscription)->grant(static_cast<std::uint32_t>(count));
      std::vector<std::unique_ptr<Delivery>> held;
      for (std::uint64_t i = 0; i < count; ++i) {
        auto delivery = co_await (*subscription)->next({});
        EXPECT_TRUE(delivery) << delivery.error().message;
        if (!delivery) break;
        EXPECT_TRUE(ids.insert(std::stoi((*delivery)->event().source_id)).second) << "delivered twice";
        held.push_back(std::move(*delivery));
      }
      held.clear();
      co_await broker_->close();
    }
    done = true;
  }

  LogBrokerOptions options_;
  ManualLoop loop_;
  Metrics metrics_;
  Log log_{{.level = LogLevel::error}};
  std::unique_ptr<Broker> broker_;
};

TEST(LogKill, NothingConfirmedIsLostAndNothingAckedComesBack) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const test::TempDir directory;
  Told told;
  for (int round = 0; round < kKills; ++round) {
    // Ids that were published without anybody hearing of it are left alone: the next writer starts far behind them.
    run_and_kill(directory / "log", std::to_string(told.last_id + 1000), 50 + random() % 4000, told);
    if (HasFatalFailure()) return;
  }
  const auto present = Reader(directory / "log").all();
  EXPECT_GT(told.published.size(), 1000U);
  EXPECT_GT(told.acked.size(), 500U);
  for (const int id : told.published) {
    if (!told.ack_sent.contains(id)) {
      EXPECT_TRUE(present.contains(id)) << "confirmed and lost: " << id;
    }
  }
  for (const int id : told.acked) EXPECT_FALSE(present.contains(id)) << "acked and back: " << id;
}

TEST(LogKill, LossesAddUpAlthoughTheWorkerIsKilledEachTime) {
  const test::TempDir directory;
  Told told;
  for (int round = 0; round < 10; ++round) {
    run_and_kill(directory / "log", "poison", 1, told);
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(told.losses, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(LogLock, SecondOwnerIsRefusedByThePidOfTheFirst) {
  const test::TempDir directory;
  auto first = open_log_directory(directory / "log");
  ASSERT_TRUE(first);
  ASSERT_TRUE((*first)->lock());
  auto second = open_log_directory(directory / "log");
  ASSERT_TRUE(second);
  const auto refused = (*second)->lock();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::failed_precondition);
  EXPECT_NE(refused.error().message.find("process " + std::to_string(::getpid())), std::string::npos)
      << refused.error().message;
  first->reset();
  EXPECT_TRUE((*second)->lock());
}

}  // namespace
}  // namespace millrace
