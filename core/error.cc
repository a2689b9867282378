#include "core/error.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace millrace {
namespace {

struct Row {
  Errc code;
  std::string_view name;
  bool retryable;
};

constexpr std::array kRows{
    Row{Errc::cancelled, "cancelled", false},
    Row{Errc::invalid_argument, "invalid_argument", false},
    Row{Errc::not_found, "not_found", false},
    Row{Errc::already_exists, "already_exists", false},
    Row{Errc::permission_denied, "permission_denied", false},
    Row{Errc::unauthenticated, "unauthenticated", false},
    Row{Errc::failed_precondition, "failed_precondition", false},
    Row{Errc::aborted, "aborted", true},
    Row{Errc::resource_exhausted, "resource_exhausted", true},
    Row{Errc::no_space, "no_space", true},
    Row{Errc::too_large, "too_large", false},
    Row{Errc::deadline_exceeded, "deadline_exceeded", true},
    Row{Errc::unavailable, "unavailable", true},
    Row{Errc::data_loss, "data_loss", false},
    Row{Errc::unimplemented, "unimplemented", false},
    Row{Errc::internal, "internal", false},
};

const Row& row_of(Errc code) {
  static_assert(static_cast<std::size_t>(Errc::internal) + 1 == kRows.size());
  return kRows.at(static_cast<std::size_t>(code));
}

Errc code_of(int error_number) {
  switch (error_number) {
    case ENOENT:
    case ENOTDIR:
    case ENXIO:
    case ESRCH: return Errc::not_found;
    case EEXIST:
    case ENOTEMPTY: return Errc::already_exists;
    case EACCES:
    case EPERM:
    case EROFS: return Errc::permission_denied;
    case ENOSPC:
    case EDQUOT: return Errc::no_space;
    case EFBIG:
    case E2BIG:
    case ENAMETOOLONG:
    case EMSGSIZE: return Errc::too_large;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN: return Errc::resource_exhausted;
    case EINVAL:
    case ELOOP:
    case EXDEV:
    case EISDIR: return Errc::invalid_argument;
    case ETIMEDOUT: return Errc::deadline_exceeded;
    case EPIPE:
    case ECONNREFUSED:
    case ECONNRESET:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRINUSE:
    case EBUSY:
    case EIO: return Errc::unavailable;
    case ENOSYS:
    case EOPNOTSUPP: return Errc::unimplemented;
    case ECANCELED: return Errc::cancelled;
    default: return Errc::internal;
  }
}

}  // namespace

std::string_view name_of(Errc code) {
  return row_of(code).name;
}

Errc errc_from_name(std::string_view name) {
  const auto* row = std::ranges::find(kRows, name, &Row::name);
  return row == kRows.end() ? Errc::internal : row->code;
}

bool retryable(Errc code) {
  return row_of(code).retryable;
}

Error Error::with(std::string_view what) const {
  Error outer = *this;
  outer.message = std::string(what) + ": " + message;
  return outer;
}

Error error_from_errno(int error_number, std::string_view what) {
  std::array<char, 128> text{};
  // GNU strerror_r: the result need not be `text`.
  const char* words = strerror_r(error_number, text.data(), text.size());
  return {.code = code_of(error_number), .message = std::string(what) + ": " + words};
}

}  // namespace millrace
