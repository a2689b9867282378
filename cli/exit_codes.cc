#include "cli/exit_codes.h"

namespace millrace::cli {

int exit_code(Errc code) {
  switch (code) {
    case Errc::invalid_argument:
    case Errc::too_large: return kUsage;
    case Errc::unavailable: return kUnreachable;
    case Errc::unauthenticated: return kUnauthorized;
    case Errc::not_found: return kNotFound;
    case Errc::deadline_exceeded: return kTimedOut;
    default: return kFailed;
  }
}

}  // namespace millrace::cli
