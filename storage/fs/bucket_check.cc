#include "storage/fs/bucket_check.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <string>

#include "storage/fs/beneath.h"
#include "storage/fs/workspace.h"

namespace millrace::fs {
namespace {

std::string shown(const Buckets& buckets, const std::string& name) {
  return "bucket '" + name + "' (" + buckets.path_of(name) + ")";
}

// Names can be made in `path`, which is below `directory` unless it is absolute.
Result<void> check_writable(int directory, const std::string& path, const std::string& what) {
  if (faccessat(directory, path.c_str(), W_OK | X_OK, AT_EACCESS) == 0) return {};
  const bool rights = errno == EACCES || errno == EPERM;
  Error error = object_error(errno, what);
  if (rights) error.message += "; give user " + std::to_string(geteuid()) + ", whom the server runs as, the right to";
  return fail(std::move(error));
}

Result<void> check_can_be_made(const Buckets& buckets, const std::string& name) {
  std::string folder = buckets.path_of(name);
  struct stat status{};
  do {
    folder.erase(std::max<std::size_t>(folder.rfind('/'), 1));
  } while (folder != "/" && stat(folder.c_str(), &status) != 0 && errno == ENOENT);
  const std::string what = "make " + shown(buckets, name) + " in " + folder;
  if (stat(folder.c_str(), &status) != 0) return fail(object_error(errno, what));
  if (!S_ISDIR(status.st_mode)) return fail(object_error(ENOTDIR, what));
  return check_writable(AT_FDCWD, folder, what);
}

// What ensure_bucket() would meet; of an output also what placing would.
Result<void> check_usable(Buckets& buckets, const std::string& name, bool is_output) {
  const auto good = check_bucket_name(name);
  if (!good) return good;
  const auto bucket = buckets.find(name);
  if (!bucket && bucket.error().code == Errc::not_found) return check_can_be_made(buckets, name);
  if (!bucket) return fail(bucket.error());
  const int directory = (*bucket)->directory();
  struct stat status{};
  const bool has_workspace = fstatat(directory, kPrivateFolder, &status, AT_SYMLINK_NOFOLLOW) == 0;
  if (has_workspace) {
    const auto workspace = (*bucket)->workspace();
    if (!workspace) return fail(workspace.error());
  }
  if (has_workspace && !is_output) return {};
  return check_writable(directory, ".", "write to " + shown(buckets, name));
}

// Which mount the bucket is on, or would be. Not its device: even two mounts of one file system have no link and no
// rename between them.
Result<std::uint64_t> mount_of(Buckets& buckets, const std::string& name) {
  auto bucket = buckets.find(name);
  if (!bucket && bucket.error().code == Errc::not_found) bucket = buckets.find({});
  if (!bucket) return fail(bucket.error());
  struct statx status{};
  if (statx((*bucket)->directory(), "", AT_EMPTY_PATH, STATX_MNT_ID, &status) != 0) {
    return fail(error_from_errno(errno, "look at " + (*bucket)->label()));
  }
  return status.stx_mnt_id;
}

Result<void> check_together(Buckets& buckets, const std::string& one, const std::string& other) {
  const auto first = mount_of(buckets, one);
  if (!first) return fail(first.error());
  const auto second = mount_of(buckets, other);
  if (!second) return fail(second.error());
  if (*first == *second) return {};
  return fail(Errc::failed_precondition,
              "buckets '" + one + "' (" + buckets.path_of(one) + ") and '" + other + "' (" + buckets.path_of(other) +
                  ") are on different file systems; the outputs of one function appear in one step, which needs one: "
                  "move a bucket, or write to them from two functions");
}

}  // namespace

Result<void> check_buckets(Buckets& buckets, const FunctionBuckets& wanted) {
  for (const auto& input : wanted.inputs) {
    const auto usable = check_usable(buckets, input, false);
    if (!usable) return usable;
  }
  for (const auto& output : wanted.outputs) {
    const auto usable = check_usable(buckets, output, true);
    if (!usable) return usable;
    const auto together = check_together(buckets, wanted.outputs.front(), output);
    if (!together) return together;
  }
  return {};
}

}  // namespace millrace::fs
