// The executor port: runs one function process on one event and says honestly how it ended.
//
//   auto execution = co_await executor.run(std::move(request), stop);
//   if (!execution) ...            // it never ran: infrastructure, nothing is counted as the function's failure
//   execution->outcome             // otherwise: what the function did, or what we had to do to it
//
// The contract of protocol `script`: the function finds TMP_INPUT_DIR, TMP_OUTPUT_DIR, INPUT_FILE_PATH (where there is
// an input) and everything in `environment`; the event's bytes are on stdin; stdout is its result, stdout and stderr
// are its log. When run() returns, no process of it exists any more.
//
// Threads: called on the domain loop, resumes there.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "core/error.h"
#include "core/fd.h"
#include "core/function_spec.h"
#include "core/run.h"

namespace millrace {

// A file the function may read under TMP_INPUT_DIR/<name>.
struct InputFile {
  std::string name;       // one path component, any bytes but '/' and NUL
  Fd fd;                  // O_RDONLY, a regular file
  std::string host_path;  // absolute, for executors without isolation
};

struct ExecutionRequest {
  std::shared_ptr<const FunctionSpec> function;
  RunId run_id;
  std::vector<InputFile> inputs;
  Fd output_directory;      // becomes TMP_OUTPUT_DIR
  std::string output_path;  // the same, absolute
  std::map<std::string, std::string> environment;
  std::string input_bytes;  // for stdin
  // Takes stdout and stderr as they come, in pieces of any length; may be empty. On the loop, until run() returns.
  std::function<void(std::string_view)> on_log = {};
};

struct Execution {
  AttemptOutcome outcome = AttemptOutcome::succeeded;
  int exit_code = 0;
  int signal = 0;
  std::string message;  // why it did not succeed: "killed by signal 11", "ran longer than 30s", "exit code 3"
  Usage usage;
  std::string result;  // stdout, at most limits.result_bytes
  bool result_truncated = false;
  std::string log_tail;  // stdout and stderr in order of arrival, at most kLogTailBytesMax
  std::uint64_t log_bytes = 0;
};

// How well a promise is kept on this host.
enum class ControlState : std::uint8_t { real, emulated, missing };

struct Control {
  std::string name;  // "memory", "cpu_weight", "cpu_quota", "pids", "isolation", ...
  ControlState state = ControlState::missing;
  std::string detail;  // how, or why not and what would enable it
};

[[nodiscard]] std::string_view name_of(ControlState state);

class Executor {
 public:
  virtual ~Executor() = default;

  // What this host can do; empty until the executor is ready.
  [[nodiscard]] virtual std::vector<Control> controls() const = 0;

  // At apply: whether every property of the function can be honoured. The error names field, value and remedy; what
  // comes back are warnings about defaults that do not hold here.
  virtual Task<Result<std::vector<std::string>>> check(std::shared_ptr<const FunctionSpec> function) = 0;

  // Runs to the end of the whole process tree. Requesting `stop` sends SIGTERM, waits `grace`, ends the tree and gives
  // `cancelled`; the function's timeout does the same and gives `timed_out`. Errors: `unavailable` (no launcher now),
  // `not_found`/`permission_denied` (an input could not be attached), `invalid_argument` (it can never start, for
  // example an interpreter that does not exist: the message says {step, cause}).
  virtual Task<Result<Execution>> run(ExecutionRequest request, std::stop_token stop) = 0;

  // The function's revision is no longer used: what was prepared for it may go.
  virtual void forget(const FunctionUid& function, std::uint64_t revision) = 0;
};

// Whether any process has a file open for writing; needs privilege, so the launcher answers.
enum class WriteState : std::uint8_t { quiet, open_for_writing, unknown };

class WriteCheck {
 public:
  virtual ~WriteCheck() = default;
  virtual Task<Result<WriteState>> check(Fd file) = 0;
};

}  // namespace millrace
