// How an attempt ended, told from what is known about its process: pure, so that every case has a test.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "core/function_spec.h"
#include "core/run.h"
#include "runtime/launcher/protocol.h"

namespace millrace::launched {

// Why we ended the function ourselves.
enum class EndedBy : std::uint8_t { nobody, timeout, cancel, output_limit };

// What lies in the output directory.
struct OutputSize {
  std::uint64_t bytes = 0;  // of the files: their lengths, holes included, or what they occupy, whichever is more
  std::uint64_t files = 0;
  bool too_deep = false;  // folders nested deeper than anybody looks
};

[[nodiscard]] bool over_limit(const OutputSize& size, const LimitsSpec& limits);

struct Ending {
  EndedBy ended_by = EndedBy::nobody;
  std::optional<launcher::Exited> exited;  // nothing: lost with its launcher
  OutputSize output;
  bool log_full = false;  // it waited for somebody to read more of its log
};

struct Verdict {
  AttemptOutcome outcome = AttemptOutcome::succeeded;
  int exit_code = 0;
  int signal = 0;
  std::string message;  // empty on success
};

// In this order: we ended it (timeout, cancel, output limit); the kernel did for memory; it was lost; a signal; its
// exit code. The surest knowledge comes first: a function that we stop for its timeout exits with any code it likes,
// and one that survives the kernel's killing of its child reports what it likes.
[[nodiscard]] Verdict judge(const Ending& ending, const FunctionSpec& function);

}  // namespace millrace::launched
