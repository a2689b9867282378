// Attempts to break out of a sandbox: a table that an auditor can read, and that `probe_attempts --list` prints as
// docs/operations/break-out-attempts.md.
//
// An attempt is held if it fails with one of the errors in its row, and a leak if it does anything else. Where a kernel
// does not have what is tried (ENOSYS, no such file), nothing can leak: that counts as held and is told apart.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace millrace::probe {

// What an attempt did: 0 or more, it succeeded; below, minus errno; kKilled, the kernel ended the process that tried.
inline constexpr long kKilled = -100'000;

using Attempt = long (*)();

// Where it is no leak, since it is meant to be possible.
enum class Allowed : std::uint8_t {
  nowhere,
  compat,    // in that profile, within the user namespace
  own_root,  // in a copy-on-write root, which nobody else sees
  outbound,  // in a private network, which leads outside
};

struct Row {
  std::string_view id;      // family letter, and two numbers
  std::string_view what;    // in words
  Attempt attempt;          // in a process of its own
  std::array<int, 4> held;  // the errors of a sandbox that holds; unused places are 0
  Allowed allowed = Allowed::nowhere;
};

// By family: descriptors and working directory (A), mounts and paths (B), /proc and /sys (C), namespaces and signals
// (D), privilege (E), devices and network (F), control groups (G), exhaustion (H), outputs (I), what others left (J).
[[nodiscard]] std::span<const Row> descriptor_attempts();
[[nodiscard]] std::span<const Row> mount_attempts();
[[nodiscard]] std::span<const Row> proc_attempts();
[[nodiscard]] std::span<const Row> namespace_attempts();
[[nodiscard]] std::span<const Row> privilege_attempts();
[[nodiscard]] std::span<const Row> device_attempts();
[[nodiscard]] std::span<const Row> other_attempts();

// Helpers of the tables. All return what Attempt does.
[[nodiscard]] long answer(long result);                    // of a C library call
[[nodiscard]] long try_open(const char* path, int flags);  // and close again
[[nodiscard]] long try_read(const char* path);             // ENODATA if it is empty
// Opened without O_CREAT. ENODATA if /dev/null lies over it, which takes everything and passes nothing on.
[[nodiscard]] long try_write(const char* path, const char* text);

}  // namespace millrace::probe
