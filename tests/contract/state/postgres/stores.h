// Several stores at once, each as a daemon of its own would have it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <semaphore>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "async/uv_event_loop.h"
#include "state/postgres/postgres_state.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "tests/contract/state/postgres/backend.h"
#include "tests/support/run_task.h"

namespace millrace::test {

// Runs `work`, which starts a server, on a thread that lives as long as this does, and so does the server.
class ServersThread {
 public:
  template <class Work>
  explicit ServersThread(Work work)
      : thread_([this, work = std::move(work)]() mutable {
          work();
          over_.acquire();
        }) {}
  ~ServersThread() { over_.release(); }
  ServersThread(const ServersThread&) = delete;
  ServersThread& operator=(const ServersThread&) = delete;

 private:
  std::binary_semaphore over_{0};
  std::jthread thread_;
};

class PostgresTest : public testing::Test {
 protected:
  struct Node {
    Metrics metrics;
    std::unique_ptr<StateStore> state;
  };

  // Without patience for a server that is not there, where a test does not ask for it.
  static PostgresOptions options(std::string url) {
    PostgresOptions made;
    made.url = std::move(url);
    made.start_wait = std::chrono::milliseconds(0);
    return made;
  }

  Result<std::unique_ptr<StateStore>> open(const PostgresOptions& options, Metrics& metrics) {
    return run(open_postgres_state(options, loop_, log_, metrics));
  }

  // How opening ends that must not succeed.
  Error refused(const PostgresOptions& options) {
    Metrics metrics;
    auto opened = open(options, metrics);
    if (!opened) return opened.error();
    ADD_FAILURE() << "it was opened";
    run((*opened)->close());
    return {};
  }

  std::unique_ptr<Node> node(const PostgresOptions& options) {
    auto made = std::make_unique<Node>();
    auto opened = open(options, made->metrics);
    if (!opened) {
      ADD_FAILURE() << opened.error().message;
      return nullptr;
    }
    made->state = std::move(*opened);
    return made;
  }

  template <class T>
  T run(Task<T> task) {
    return run_task(loop_, std::move(task));
  }
  void run(Task<void> task) { run_task(loop_, std::move(task)); }

  void close(Node& node) { run(node.state->close()); }

  UvEventLoop loop_;
  Log log_{{.level = LogLevel::error}};
};

// For tests after which the program's server is not as it was.
class PostgresServerTest : public PostgresTest {
 public:
  ~PostgresServerTest() override { restart(); }

 protected:
  void restart(const std::vector<std::string>& settings = {}) {
    server_.kill();
    server_.start(settings);
  }

  PostgresServer& server_ = postgres_server();
  const std::string database_ = server_.make_database();
  const std::string url_ = server_.url(database_);
};

}  // namespace millrace::test
