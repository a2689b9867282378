// The one error type that crosses ports, threads and processes of Millrace, and Result<T> that carries it.
//
//   Result<Bytes> read_all(int fd);
//   const auto bytes = read_all(fd);
//   if (!bytes) return fail(bytes.error().with("read the script"));
//
// A code says how to react and nothing else: whether to retry depends on it alone. The message is for people: it names
// the object and the operation and what was expected, and never holds a secret or a payload.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace millrace {

enum class Errc : std::uint8_t {
  cancelled,         // the caller asked to stop
  invalid_argument,  // wrong whatever the state of the system: fix the request
  not_found,
  already_exists,
  permission_denied,    // known caller, not allowed
  unauthenticated,      // unknown caller
  failed_precondition,  // wrong in this state: a second verdict, an object that changed
  aborted,              // lost a race or a lease; another owner went on
  resource_exhausted,   // a named limit is reached; later is fine
  no_space,             // the disk or a bounded topic is full
  too_large,            // over a size limit; will never fit
  deadline_exceeded,
  unavailable,    // a dependency is away; later is fine
  data_loss,      // stored bytes are gone or corrupt
  unimplemented,  // this backend or build cannot do it
  internal,       // a bug of ours
};

// The code's name as it appears in the API, logs and metrics, for example "not_found".
[[nodiscard]] std::string_view name_of(Errc code);

// The code with this name; `internal` for an unknown one, since it comes from a newer peer.
[[nodiscard]] Errc errc_from_name(std::string_view name);

// True when the same request may succeed later without anybody changing it.
[[nodiscard]] bool retryable(Errc code);

struct Error {
  Errc code = Errc::internal;
  std::string message;
  std::chrono::milliseconds retry_after{0};  // 0: no hint

  // The same error told from one level up: "<what>: <message>". Add context once, at the boundary.
  [[nodiscard]] Error with(std::string_view what) const;
};

template <class T>
using Result = std::expected<T, Error>;

// The failed side of any Result: `return fail(Errc::not_found, "bucket 'videos' does not exist");`
[[nodiscard]] inline std::unexpected<Error> fail(Errc code, std::string message) {
  return std::unexpected(Error{.code = code, .message = std::move(message)});
}
[[nodiscard]] inline std::unexpected<Error> fail(Error error) {
  return std::unexpected(std::move(error));
}

// What a failed system call means: ENOENT is not_found, ENOSPC no_space, and so on. `what` names operation and object.
[[nodiscard]] Error error_from_errno(int error_number, std::string_view what);

}  // namespace millrace
