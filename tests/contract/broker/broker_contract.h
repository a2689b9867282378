// The contract of the Broker port, run against every backend. A backend is a BrokerBench: it opens the broker, moves
// time and waits. It may skip a case only where its capabilities say so.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "async/task.h"
#include "async/task_group.h"
#include "broker/broker.h"

namespace millrace::contract {

class BrokerBench {
 public:
  virtual ~BrokerBench() = default;

  virtual EventLoop& loop() = 0;
  virtual Broker& broker() = 0;
  // Runs the loop until `done`; false when it will never be.
  virtual bool run_until(const std::function<bool()>& done) = 0;
  // Moves time, and runs what that makes ready.
  virtual void advance(std::chrono::milliseconds span) = 0;
  // Closes the broker and opens it again on what it left.
  virtual void restart() = 0;
  // The same without closing it first.
  virtual void crash() = 0;

  // A backend behind a server of its own: false when delays that the server keeps go by its clock, not by ours.
  virtual bool moves_server_time() const { return true; }
  // A dedupe window that is short enough to wait for, and the wait for it.
  virtual std::chrono::milliseconds short_window() const { return std::chrono::minutes(10); }
  virtual void pass(std::chrono::milliseconds span) { advance(span); }
  // Longer than a restart takes by the clock that delays and windows go by.
  virtual std::chrono::milliseconds patience() const { return std::chrono::minutes(10); }
};

struct Backend {
  std::string name;
  std::function<std::unique_ptr<BrokerBench>()> make;
};

// For GoogleTest's messages and test names.
inline void PrintTo(const Backend& backend, std::ostream* out) {
  *out << backend.name;
}

// A task that runs beside the test.
template <class T>
struct Running {
  std::optional<T> value;
  [[nodiscard]] bool done() const { return value.has_value(); }
};

// Leaves out what a broker says of itself that it cannot do; functions that need it are refused there.
#define MILLRACE_NEEDS(capability) \
  if (!capabilities().capability) GTEST_SKIP() << "this broker's capabilities say: no " #capability
#define MILLRACE_NEEDS_A_DISK() \
  if (!survives_restart()) GTEST_SKIP() << "this broker confirms at 'memory': nothing survives a restart"

class BrokerContract : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override;
  void TearDown() override;

  [[nodiscard]] Broker& broker() { return bench_->broker(); }
  [[nodiscard]] Capabilities capabilities() { return broker().capabilities(); }
  [[nodiscard]] bool survives_restart() { return capabilities().confirm != Durability::memory; }

  // Starts a task and returns at once.
  template <class T>
  std::shared_ptr<Running<T>> start(Task<T> task) {
    auto running = std::make_shared<Running<T>>();
    group_->spawn(store(std::move(task), running));
    return running;
  }

  // Runs a task to its end.
  template <class T>
  T await(Task<T> task) {
    auto running = start(std::move(task));
    finish(*running);
    return std::move(*running->value);
  }

  template <class T>
  void finish(Running<T>& running) {
    if (!bench_->run_until([&] { return running.done(); })) {
      ADD_FAILURE() << "a call does not come back";
      std::abort();  // its coroutine holds what the test is about to destroy
    }
  }

  [[nodiscard]] bool wait_for(const std::function<bool()>& done) { return bench_->run_until(done); }
  void advance(std::chrono::milliseconds span) { bench_->advance(span); }
  void restart();
  void crash();
  [[nodiscard]] bool moves_server_time() { return bench_->moves_server_time(); }
  [[nodiscard]] std::chrono::milliseconds short_window() { return bench_->short_window(); }
  void pass(std::chrono::milliseconds span) { bench_->pass(span); }
  [[nodiscard]] std::chrono::milliseconds patience() { return bench_->patience(); }

  // close() as a task with a value.
  [[nodiscard]] Task<bool> start_close();

  void make_topic(TopicSpec spec);
  void make_topic(const std::string& name = "t") { make_topic({.name = name, .groups = {"g"}}); }
  [[nodiscard]] std::unique_ptr<Subscription> subscribe(const std::string& topic = "t", const std::string& group = "g",
                                                        std::uint32_t credit = 1000);
  void publish(const std::string& id, const std::string& data, std::chrono::milliseconds delay = {},
               const std::string& topic = "t");
  std::vector<Result<Receipt>> publish_all(std::vector<Outgoing> batch, const std::string& topic = "t");
  void publish_numbered(int count, const std::string& topic = "t");  // ids and data "0", "1", ...

  // The next delivery; fails the test when there is none.
  [[nodiscard]] std::unique_ptr<Delivery> next(Subscription& subscription);
  // True when nothing is deliverable now.
  [[nodiscard]] bool nothing(Subscription& subscription);
  [[nodiscard]] Lag lag(const std::string& topic = "t", const std::string& group = "g");
  // Data of everything deliverable now, acked.
  [[nodiscard]] std::vector<std::string> drain(Subscription& subscription);

 private:
  template <class T>
  static Task<void> store(Task<T> task, std::shared_ptr<Running<T>> running) {
    auto value = co_await task;
    running->value.emplace(std::move(value));
  }

  std::unique_ptr<BrokerBench> bench_;
  std::unique_ptr<TaskGroup> group_;
};

[[nodiscard]] Event make_event(std::string data);
[[nodiscard]] Outgoing make_message(std::string id, std::string data, std::chrono::milliseconds delay = {});

// How the case ended, by code: "ok" or the name of the error.
template <class T>
[[nodiscard]] std::string outcome(const Result<T>& result) {
  return result ? "ok" : std::string(name_of(result.error().code));
}

}  // namespace millrace::contract
