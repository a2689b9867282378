#include "producers/probe.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "core/file_time.h"

namespace millrace {
namespace {

Result<bool> changed_since(int fd, const ObjectVersion& version) {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return fail(error_from_errno(errno, "look at an opened object"));
  const std::int64_t mtime_ns = nanoseconds_of(status.st_mtim);
  return static_cast<std::uint64_t>(status.st_size) != version.size_bytes || mtime_ns != version.mtime_ns;
}

}  // namespace

Task<Result<Probe>> probe(ObjectStore& objects, WriteCheck& checks, ObjectRef object) {
  const auto opened = co_await objects.open(object);
  if (!opened && opened.error().code == Errc::permission_denied) {
    const auto info = co_await objects.stat(object.bucket, object.key);
    if (!info) co_return fail(info.error());
    co_return Probe{.version = info->version, .state = WriteState::unknown};
  }
  if (!opened) co_return fail(opened.error());

  Fd asked(::fcntl(opened->fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!asked) co_return fail(error_from_errno(errno, "duplicate a descriptor"));
  const auto state = co_await checks.check(std::move(asked));
  if (!state && retryable(state.error().code)) co_return fail(state.error().with("check for writers"));
  const auto changed = changed_since(opened->fd.get(), opened->version);
  if (!changed) co_return fail(changed.error());
  Probe result{.version = opened->version, .state = state ? *state : WriteState::unknown};
  if (*changed && result.state == WriteState::quiet) result.state = WriteState::open_for_writing;
  co_return result;
}

}  // namespace millrace
