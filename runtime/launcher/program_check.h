// Whether a program could be executed in a root file system that is not ours: what execve(2) would say, found out
// before. OCI runtimes say it too late, and in words.
#pragma once

#include <span>

namespace millrace::launcher {

// 0, or the errno of the first candidate that execve() would stop at; as for a shell, one that may not be executed
// only counts if no other is found. Follows "#!" lines, and links within the root. What lies where a runtime mounts
// (/tmp, /dev, /proc) is taken for good.
[[nodiscard]] int check_program(int root, std::span<const char* const> candidates);

// 0, or E2BIG: of strings up to a null pointer, what Linux lets a program have with the usual stack of 8 MiB.
[[nodiscard]] int check_sizes(const char* const* arguments, const char* const* environment);

}  // namespace millrace::launcher
