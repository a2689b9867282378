// What the program's exit status says. `millrace run` exits with the function's own code instead where there is one.
#pragma once

#include "core/error.h"

namespace millrace::cli {

inline constexpr int kOk = 0;
inline constexpr int kFailed = 1;        // the server, or the system, said no
inline constexpr int kUsage = 2;         // wrong arguments, or a file named there that cannot be opened or is wrong
inline constexpr int kUnreachable = 3;   // nobody answered
inline constexpr int kUnauthorized = 4;  // no token, or a wrong one
inline constexpr int kNotFound = 5;      // on the server; a file of this machine that is not there is kUsage
inline constexpr int kTimedOut = 6;      // `wait` that was too short

[[nodiscard]] int exit_code(Errc code);

}  // namespace millrace::cli
