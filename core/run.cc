#include "core/run.h"

#include <algorithm>
#include <array>

namespace millrace {
namespace {

constexpr std::array<std::string_view, 10> kStates{"queued",  "waiting_retry", "admitted", "staging_in", "starting",
                                                   "running", "staging_out",   "placing",  "publishing", "done"};
constexpr std::array<std::string_view, 7> kAttemptOutcomes{
    "succeeded", "failed", "timed_out", "out_of_memory", "output_too_large", "cancelled", "lost"};
constexpr std::array<std::string_view, 5> kRunOutcomes{"succeeded", "dead_lettered", "failed", "cancelled", "skipped"};

template <class Enum, std::size_t N>
std::string_view text(const std::array<std::string_view, N>& names, Enum value) {
  return names.at(static_cast<std::size_t>(value));
}

template <class Enum, std::size_t N>
std::optional<Enum> value(const std::array<std::string_view, N>& names, std::string_view name) {
  const auto* found = std::ranges::find(names, name);
  if (found == names.end()) return std::nullopt;
  return static_cast<Enum>(found - names.begin());
}

}  // namespace

std::string_view name_of(RunState state) {
  return text(kStates, state);
}
std::string_view name_of(AttemptOutcome outcome) {
  return text(kAttemptOutcomes, outcome);
}
std::string_view name_of(RunOutcome outcome) {
  return text(kRunOutcomes, outcome);
}

std::optional<RunState> run_state_from_name(std::string_view name) {
  return value<RunState>(kStates, name);
}
std::optional<AttemptOutcome> attempt_outcome_from_name(std::string_view name) {
  return value<AttemptOutcome>(kAttemptOutcomes, name);
}
std::optional<RunOutcome> run_outcome_from_name(std::string_view name) {
  return value<RunOutcome>(kRunOutcomes, name);
}

}  // namespace millrace
