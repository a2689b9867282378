#include "storage/fs/attempt.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <string_view>
#include <utility>

#include "storage/fs/beneath.h"
#include "storage/fs/sealing.h"
#include "storage/fs/tree.h"

namespace millrace::fs {
namespace {

constexpr std::size_t kIdLengthMin = 4;
constexpr std::size_t kIdLengthMax = 64;

bool is_plain_id(std::string_view id) {
  return id.size() >= kIdLengthMin && id.size() <= kIdLengthMax && std::ranges::all_of(id, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
         });
}

std::string attempt_label(const Bucket& bucket, const AttemptPlace& place) {
  return "attempt " + place.token.str() + " of run " + place.run_id.str() + " in " + bucket.label();
}

// The folder that holds the attempts of one run and of every 256th other, made where it is missing. An invalid Fd
// leaves the reason in errno.
Fd make_shard(int workspace, const std::string& shard) {
  Fd folder = open_directory(workspace, shard);
  if (folder || errno != ENOENT) return folder;
  if (mkdirat(workspace, shard.c_str(), kPrivateMode) != 0 && errno != EEXIST) return {};
  return open_directory(workspace, shard);
}

}  // namespace

Result<void> check_attempt(const AttemptPlace& place) {
  if (is_plain_id(place.run_id.str()) && is_plain_id(place.token.str())) return {};
  return fail(Errc::invalid_argument, "attempt: expected run id and token of 4 to 64 letters and digits");
}

std::string attempt_path(const AttemptPlace& place) {
  const std::string& run = place.run_id.str();
  return std::string(kPrivateFolder) + "/" + run.substr(0, 2) + "/" + run + "-" + place.token.str();
}

Result<AttemptDirectory> make_attempt_directory(Bucket& bucket, const AttemptPlace& place) {
  const std::string label = attempt_label(bucket, place);
  const auto workspace = bucket.workspace();
  if (!workspace) return fail(workspace.error());
  const std::string path = attempt_path(place);
  const std::string name = split_path(path).name;
  const Fd shard = make_shard((*workspace)->directory(), place.run_id.str().substr(0, 2));
  if (!shard || mkdirat(shard.get(), name.c_str(), kPrivateMode) != 0)
    return fail(object_error(errno, "make " + label));
  Fd directory = open_directory(shard.get(), name);
  if (!directory) return fail(object_error(errno, "open " + label));
  const auto space = free_bytes(directory.get(), bucket.label());
  if (!space) return fail(space.error());
  return AttemptDirectory{
      .fd = std::move(directory), .host_path = bucket.host_path() + "/" + path, .free_bytes = *space};
}

Fd open_attempt(const Bucket& bucket, const AttemptPlace& place) {
  const auto parts = split_path(attempt_path(place));
  const Fd shard = open_directory(bucket.directory(), parts.folder);
  return shard ? open_own_directory(shard.get(), parts.name) : Fd();
}

Result<Sealed> seal_attempt(Bucket& bucket, const AttemptPlace& place, const SealLimits& limits,
                            const OutputRank& rank) {
  const std::string what = "seal " + attempt_label(bucket, place);
  const auto workspace = bucket.workspace();
  if (!workspace) return fail(workspace.error());
  const Fd attempt = open_attempt(bucket, place);
  if (!attempt) return fail(object_error(errno, what));

  Sealing sealing({.attempt = attempt.get(),
                   .path = private_path(bucket.name(), attempt_path(place)),
                   .copy_prefix = copy_prefix(place.token)},
                  **workspace, limits, rank);
  auto sealed = sealing.run();
  if (!sealed) return fail(sealed.error().with(what));
  return sealed;
}

Result<bool> remove_attempt_step(const Bucket& bucket, const AttemptPlace& place, std::size_t entries_max) {
  const auto parts = split_path(attempt_path(place));
  const Fd shard = open_directory(bucket.directory(), parts.folder);
  if (!shard && errno == ENOENT) return true;
  if (!shard) return fail(object_error(errno, "remove " + attempt_label(bucket, place)));
  return remove_tree(shard.get(), parts.name, entries_max);
}

Result<std::uint64_t> free_bytes(int directory, const std::string& label) {
  struct statvfs status{};
  if (fstatvfs(directory, &status) != 0) return fail(error_from_errno(errno, "free space of " + label));
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(std::uint64_t{status.f_bavail}, std::uint64_t{status.f_frsize}, &bytes)) {
    return std::numeric_limits<std::uint64_t>::max();
  }
  return bytes;
}

}  // namespace millrace::fs
