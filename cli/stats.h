// What runs of a function have in common: how many, how they ended, how long they took.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cli/table.h"
#include "formats/json.h"

namespace millrace::cli {

// Half, and 99 of 100, of the values are at most so large.
struct Quantiles {
  std::uint64_t p50 = 0;
  std::uint64_t p99 = 0;
};

// By nearest rank; zeros for no values.
[[nodiscard]] Quantiles quantiles_of(std::vector<std::uint64_t> values);

struct FunctionStats {
  std::map<std::string, std::uint64_t> outcomes;  // of runs that are over
  std::uint64_t going_on = 0;
  std::uint64_t failures = 0;  // attempts
  std::uint64_t losses = 0;
  // Of runs that were executed.
  std::vector<std::uint64_t> wall_us;
  std::vector<std::uint64_t> cpu_us;
  std::vector<std::uint64_t> memory_peak_bytes;
  std::vector<std::uint64_t> queued_us;
  std::vector<std::uint64_t> start_us;
};

// By function name. A run that ended while the list was read may be in it twice and counts once.
[[nodiscard]] std::map<std::string, FunctionStats> stats_of(const Json::Array& runs);

[[nodiscard]] Table stats_table(const std::map<std::string, FunctionStats>& stats);
[[nodiscard]] Json stats_json(const std::map<std::string, FunctionStats>& stats);

}  // namespace millrace::cli
