#include "runtime/launched/outcome.h"

#include <gtest/gtest.h>

namespace millrace::launched {
namespace {

launcher::Exited exited(launcher::Ending how, std::uint32_t value, bool out_of_memory = false) {
  return {.run = 1, .how = how, .value = value, .out_of_memory = out_of_memory, .usage = {}};
}

FunctionSpec function() {
  FunctionSpec spec;
  spec.memory_bytes = 64 << 20;
  spec.timeout = std::chrono::seconds(30);
  spec.limits.output_bytes = 1 << 20;
  spec.limits.output_files = 10;
  return spec;
}

TEST(Judge, TellsSuccess) {
  const auto verdict = judge({.exited = exited(launcher::Ending::code, 0), .output = {}}, function());
  EXPECT_EQ(verdict.outcome, AttemptOutcome::succeeded);
  EXPECT_EQ(verdict.message, "");
}

TEST(Judge, TellsCodeAndSignal) {
  const auto code = judge({.exited = exited(launcher::Ending::code, 3), .output = {}}, function());
  EXPECT_EQ(code.outcome, AttemptOutcome::failed);
  EXPECT_EQ(code.exit_code, 3);
  EXPECT_EQ(code.message, "exit code 3");
  const auto signal = judge({.exited = exited(launcher::Ending::signal, 11), .output = {}}, function());
  EXPECT_EQ(signal.outcome, AttemptOutcome::failed);
  EXPECT_EQ(signal.signal, 11);
  EXPECT_EQ(signal.message, "killed by signal 11 (SIGSEGV)");
  EXPECT_EQ(judge({.exited = exited(launcher::Ending::signal, 99), .output = {}}, function()).message,
            "killed by signal 99");
}

TEST(Judge, TellsOutOfMemoryWhateverTheCode) {
  for (const auto& end : {exited(launcher::Ending::code, 0, true), exited(launcher::Ending::signal, 9, true)}) {
    const auto verdict = judge({.exited = end, .output = {}}, function());
    EXPECT_EQ(verdict.outcome, AttemptOutcome::out_of_memory);
    EXPECT_EQ(verdict.message, "out of memory: limit 64Mi");
  }
  EXPECT_EQ(judge({.exited = exited(launcher::Ending::code, 137), .output = {}}, function()).outcome,
            AttemptOutcome::failed);
}

TEST(Judge, PutsOurOwnEndingFirst) {
  const auto killed = exited(launcher::Ending::signal, 9, true);
  const auto timeout = judge({.ended_by = EndedBy::timeout, .exited = killed, .output = {}}, function());
  EXPECT_EQ(timeout.outcome, AttemptOutcome::timed_out);
  EXPECT_EQ(timeout.message, "ran longer than 30s");
  EXPECT_EQ(timeout.signal, 9);
  EXPECT_EQ(judge({.ended_by = EndedBy::cancel, .exited = killed, .output = {}}, function()).outcome,
            AttemptOutcome::cancelled);
  EXPECT_EQ(judge({.ended_by = EndedBy::timeout, .exited = {}, .output = {}}, function()).outcome,
            AttemptOutcome::timed_out);
}

TEST(Judge, TellsWhatWasTooLarge) {
  const auto bytes = judge({.ended_by = EndedBy::output_limit,
                            .exited = exited(launcher::Ending::signal, 9),
                            .output = {.bytes = (1 << 20) + 1, .files = 1}},
                           function());
  EXPECT_EQ(bytes.outcome, AttemptOutcome::output_too_large);
  EXPECT_EQ(bytes.message, "outputs larger than 1Mi (limits.output)");
  const auto files =
      judge({.exited = exited(launcher::Ending::code, 0), .output = {.bytes = 0, .files = 11}}, function());
  EXPECT_EQ(files.outcome, AttemptOutcome::output_too_large);
  EXPECT_EQ(files.message, "more than 10 output files (limits.output_files)");
  EXPECT_EQ(judge({.exited = exited(launcher::Ending::code, 0), .output = {.bytes = 1 << 20, .files = 10}}, function())
                .outcome,
            AttemptOutcome::succeeded);
}

TEST(Judge, TellsALoss) {
  EXPECT_EQ(judge({.exited = {}, .output = {}}, function()).outcome, AttemptOutcome::lost);
  const auto template_died = judge({.exited = exited(launcher::Ending::lost, 0), .output = {}}, function());
  EXPECT_EQ(template_died.outcome, AttemptOutcome::lost);
  EXPECT_NE(template_died.message, "");
}

}  // namespace
}  // namespace millrace::launched
