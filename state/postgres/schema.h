// The tables, in a schema of their own, and how one of an earlier build becomes one of this build.
#pragma once

#include <span>

namespace millrace::postgres {

// migrations()[n] brings version n to n + 1. Several statements each; PostgreSQL takes them all back together.
[[nodiscard]] std::span<const char* const> migrations();

}  // namespace millrace::postgres
