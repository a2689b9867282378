// Whether a host can keep what a function's spec promises, by what its launcher said about it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/function_spec.h"
#include "runtime/executor.h"
#include "runtime/launcher/protocol.h"

namespace millrace::launched {

// What OCI runtimes need themselves, in the function's group, before the function begins.
inline constexpr std::uint32_t kOciPidsMin = 16;
inline constexpr std::uint64_t kOciMemoryBytesMin = 16ULL << 20;

// How many files this process could open at most, and with it the launcher: both have that bound from the supervisor.
[[nodiscard]] std::uint64_t own_open_files_max();

struct Host {
  launcher::Hello hello;
  bool allow_host_network = false;  // functions may ask for the machine's own network
  std::uint64_t open_files_max = own_open_files_max();
};

// What every executor behind the launcher offers, under the names that `check` shows.
[[nodiscard]] std::vector<Control> controls_of(const launcher::Hello& hello, ExecutorKind kind);

// What a container needs and this host lacks, with the reasons, as text for people; empty where containers are
// possible.
[[nodiscard]] std::string missing_isolation(const launcher::Hello& hello);

// Warnings about defaults that do not hold on this host. Errors: invalid_argument for a field that can never be
// honoured, failed_precondition for an author's limit or an isolation that this host cannot give; both name the field,
// its value and the remedy.
[[nodiscard]] Result<std::vector<std::string>> check_function(const FunctionSpec& function, const Host& host);

}  // namespace millrace::launched
