#include "runtime/launched/outcome.h"

#include <csignal>
#include <cstring>

#include "core/units.h"

namespace millrace::launched {
namespace {

std::string output_message(const OutputSize& size, const LimitsSpec& limits) {
  if (size.too_deep) return "folders in TMP_OUTPUT_DIR nested too deep to be counted (limits.output)";
  if (size.files > limits.output_files) {
    return "more than " + std::to_string(limits.output_files) + " output files (limits.output_files)";
  }
  return "outputs larger than " + format_bytes(limits.output_bytes) + " (limits.output)";
}

std::string signal_message(int signal) {
  std::string message = "killed by signal " + std::to_string(signal);
  if (const char* name = ::sigabbrev_np(signal); name != nullptr) message += " (SIG" + std::string(name) + ")";
  return message;
}

}  // namespace

bool over_limit(const OutputSize& size, const LimitsSpec& limits) {
  return size.too_deep || size.bytes > limits.output_bytes || size.files > limits.output_files;
}

Verdict judge(const Ending& ending, const FunctionSpec& function) {
  Verdict verdict;
  const auto& exited = ending.exited;
  if (exited && exited->how == launcher::Ending::code) verdict.exit_code = static_cast<int>(exited->value);
  if (exited && exited->how == launcher::Ending::signal) verdict.signal = static_cast<int>(exited->value);

  const auto say = [&](AttemptOutcome outcome, std::string message) {
    verdict.outcome = outcome;
    verdict.message = std::move(message);
    return verdict;
  };
  switch (ending.ended_by) {
    case EndedBy::timeout:
      return say(
          AttemptOutcome::timed_out,
          "ran longer than " + format_duration(function.timeout) +
              (ending.log_full ? "; it waited to write: its log is full (limits.log, log_policy: backpressure)" : ""));
    case EndedBy::cancel: return say(AttemptOutcome::cancelled, "cancelled");
    case EndedBy::output_limit:
      return say(AttemptOutcome::output_too_large, output_message(ending.output, function.limits));
    case EndedBy::nobody: break;
  }
  if (exited && exited->out_of_memory) {
    return say(AttemptOutcome::out_of_memory, "out of memory: limit " + format_bytes(function.memory_bytes));
  }
  if (!exited) return say(AttemptOutcome::lost, "the launcher ended while the function ran");
  if (exited->how == launcher::Ending::lost) {
    return say(AttemptOutcome::lost, "the function's sandbox was ended from outside");
  }
  // Also when it ended by itself: what lies there is more than may be stored.
  if (over_limit(ending.output, function.limits)) {
    return say(AttemptOutcome::output_too_large, output_message(ending.output, function.limits));
  }
  if (verdict.signal != 0) return say(AttemptOutcome::failed, signal_message(verdict.signal));
  if (verdict.exit_code != 0) return say(AttemptOutcome::failed, "exit code " + std::to_string(verdict.exit_code));
  return verdict;
}

}  // namespace millrace::launched
