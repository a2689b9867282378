// What every adapter of the state store port is tested with: a way to open it, and records that are told apart.
//
//   class RunContract : public StateContract {};
//   TEST_P(RunContract, FirstCommitStands) { ... run(state().runs().commit(record("r1"))) ... }
//   INSTANTIATE_TEST_SUITE_P(Backends, RunContract, testing::ValuesIn(backends()), backend_name);
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/task.h"
#include "async/uv_event_loop.h"
#include "core/error.h"
#include "state/state_store.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "tests/support/run_task.h"

namespace millrace::test {

enum class Backend : std::uint8_t { memory, sqlite, postgres };

// Where one store lives, for as long as a test does. Each program of the suite brings its backends along: two files
// define what follows.
class Place {
 public:
  Place() = default;
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  virtual ~Place() = default;

  // Again and again, if what it holds outlives the store.
  [[nodiscard]] virtual Task<Result<std::unique_ptr<StateStore>>> open(EventLoop& loop, Log& log, Metrics& metrics) = 0;
  [[nodiscard]] virtual std::string where() const { return {}; }  // for state_writer
};
[[nodiscard]] std::unique_ptr<Place> make_place(Backend backend);
[[nodiscard]] std::vector<Backend> backends();
[[nodiscard]] std::vector<Backend> durable_backends();  // what they hold outlives the process
[[nodiscard]] std::string backend_name(const testing::TestParamInfo<Backend>& info);
void PrintTo(Backend backend, std::ostream* out);  // for GoogleTest's messages and test names

// Milliseconds after a fixed day, with nanoseconds that must not be lost.
[[nodiscard]] WallTime at(int milliseconds);

[[nodiscard]] Attempt attempt(const std::string& run_id, const std::string& token, int started_ms = 0);
[[nodiscard]] Attempt ended(Attempt attempt, AttemptOutcome outcome);

// A record with every member set to something of its own.
[[nodiscard]] RunRecord record(const std::string& run_id, int committed_ms = 0);
[[nodiscard]] OutputFile output(const std::string& name);

// Compares all members and names those that differ.
void expect_same(const Attempt& a, const Attempt& b);
void expect_same(const RunRecord& a, const RunRecord& b);

[[nodiscard]] std::vector<std::string> ids(const std::vector<RunRecord>& records);
[[nodiscard]] std::vector<std::string> tokens(const std::vector<Attempt>& attempts);

class StateContract : public testing::TestWithParam<Backend> {
 public:
  ~StateContract() override;

 protected:
  StateContract();

  StateStore& state() { return *state_; }

  template <class T>
  T run(Task<T> task) {
    return run_task(loop_, std::move(task));
  }

  // A store that keeps what it was told is closed and opened again; others go on.
  void reopen();

  UvEventLoop loop_;
  Metrics metrics_;

 private:
  void open();

  Log log_;
  std::unique_ptr<Place> place_;
  std::unique_ptr<StateStore> state_;
};

}  // namespace millrace::test
