// What every case of the executors' contract stands on: a launcher of its own, an executor of the kind under test, and
// a daemon side that has the rights of an ordinary user while its real user stays root.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <stop_token>
#include <string>
#include <string_view>

#include "async/blocking_pool.h"
#include "async/uv_event_loop.h"
#include "runtime/executor.h"
#include "runtime/launched/launcher_client.h"
#include "telemetry/log.h"
#include "tests/contract/executor/launcher_process.h"
#include "tests/support/temp_dir.h"

namespace millrace {

// For GoogleTest's messages and test names.
inline void PrintTo(ExecutorKind kind, std::ostream* out) {
  *out << name_of(kind);
}
inline void PrintTo(AttemptOutcome outcome, std::ostream* out) {
  *out << name_of(outcome);
}

}  // namespace millrace

namespace millrace::test {

inline constexpr std::uint32_t kDaemonUid = 61500;

// An executor, and how it does it.
struct Backend {
  ExecutorKind kind = ExecutorKind::container;
  // Of executor oci. Without an initializer the compiler wants it named for every backend.
  std::string_view runtime = "";  // NOLINT(readability-redundant-string-init)
};
inline constexpr std::array kBackends{Backend{.kind = ExecutorKind::process}, Backend{.kind = ExecutorKind::container},
                                      Backend{.kind = ExecutorKind::oci, .runtime = "runc"},
                                      Backend{.kind = ExecutorKind::oci, .runtime = "crun"}};

inline void PrintTo(const Backend& backend, std::ostream* out) {
  *out << name_of(backend.kind) << " " << backend.runtime;
}
[[nodiscard]] inline std::string name_of_backend(const testing::TestParamInfo<Backend>& info) {
  return std::string(info.param.runtime.empty() ? name_of(info.param.kind) : info.param.runtime);
}

class ExecutorContract : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override;
  void TearDown() override;

  [[nodiscard]] bool is_container() const { return GetParam().kind != ExecutorKind::process; }
  [[nodiscard]] bool has(launcher::Control control);

  // A valid spec of the executor under test with this script; a new revision each time.
  [[nodiscard]] FunctionSpec spec(std::string script);

  struct Input {
    std::string name;
    std::string content;
  };
  // Files are made below the test's directory; outputs go to a fresh directory, outputs() afterwards.
  [[nodiscard]] ExecutionRequest request(FunctionSpec function, const std::vector<Input>& inputs = {});
  [[nodiscard]] const std::string& outputs() const { return outputs_; }

  [[nodiscard]] Result<Execution> run(ExecutionRequest what, std::stop_token stop = {});
  [[nodiscard]] Result<Execution> run(FunctionSpec function) { return run(request(std::move(function))); }

  // Runs, and does something as soon as the function has made the file `started` among its outputs.
  [[nodiscard]] Result<Execution> run_and_meanwhile(ExecutionRequest what, std::function<void()> action,
                                                    std::stop_token stop = {});

  void start_launcher();
  [[nodiscard]] std::vector<std::string> runtime_flags() const;

  std::optional<TempDir> directory_;
  std::string outputs_;
  std::uint64_t made_ = 0;
  std::optional<LauncherProcess> launcher_;
  std::optional<Log> log_;
  std::optional<UvEventLoop> loop_;
  std::optional<BlockingPool> pool_;
  std::optional<launched::LauncherClient> client_;
  std::unique_ptr<Executor> executor_;
};

// The case's text on success, else why it never ran.
[[nodiscard]] std::string describe(const Result<Execution>& execution);

[[nodiscard]] std::string read_file(const std::string& path);

}  // namespace millrace::test
