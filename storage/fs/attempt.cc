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
#include "storage/fs/entries.h"
#include "storage/fs/sealing.h"
#include "storage/fs/tree.h"

namespace millrace::fs {
namespace {

constexpr std::size_t kIdLengthMin = 4;
constexpr std::size_t kIdLengthMax = 64;
constexpr int kMakeTries = 10;

bool is_plain_id(std::string_view id) {
  return id.size() >= kIdLengthMin && id.size() <= kIdLengthMax && std::ranges::all_of(id, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
         });
}

std::string attempt_label(const Bucket& bucket, const AttemptPlace& place) {
  return "attempt " + place.token.str() + " of run " + place.run_id.str() + " in " + bucket.label();
}

// mkdirat, where being there already is fine: 0 or errno.
int make_private(int parent, const std::string& name) {
  return mkdirat(parent, name.c_str(), kPrivateMode) == 0 || errno == EEXIST ? 0 : errno;
}

// The run's folder, made where it is missing. Whoever removes the last attempt of the run removes the folder too,
// perhaps right now: ENOENT then, also from the caller's own next step.
Result<Fd> make_run_folder(int workspace, const RunId& run_id, const std::string& label) {
  const std::string prefix = run_id.str().substr(0, 2);
  int failed = make_private(workspace, prefix);
  Fd folder;
  if (failed == 0) folder = open_directory(workspace, prefix);
  if (failed == 0) failed = folder ? make_private(folder.get(), run_id.str()) : errno;
  Fd run;
  if (failed == 0) {
    run = open_directory(folder.get(), run_id.str());
    failed = run ? 0 : errno;
  }
  if (failed != 0) return fail(object_error(failed, "make " + label));
  return run;
}

}  // namespace

Result<void> check_attempt(const AttemptPlace& place) {
  if (is_plain_id(place.run_id.str()) && is_plain_id(place.token.str())) return {};
  return fail(Errc::invalid_argument, "attempt: expected run id and token of 4 to 64 letters and digits");
}

std::string run_folder(const RunId& run_id) {
  return std::string(kPrivateFolder) + "/" + run_id.str().substr(0, 2) + "/" + run_id.str();
}

Result<AttemptDirectory> make_attempt_directory(Bucket& bucket, const AttemptPlace& place) {
  const std::string label = attempt_label(bucket, place);
  const auto workspace = bucket.workspace();
  if (!workspace) return fail(workspace.error());
  for (int i = 0; i < kMakeTries; ++i) {
    const auto run = make_run_folder((*workspace)->directory(), place.run_id, label);
    if (!run) {
      if (run.error().code == Errc::not_found) continue;
      return fail(run.error());
    }
    if (mkdirat(run->get(), place.token.str().c_str(), kPrivateMode) != 0) {
      if (errno == ENOENT) continue;
      return fail(object_error(errno, "make " + label));
    }
    Fd directory = open_directory(run->get(), place.token.str());
    if (!directory) return fail(object_error(errno, "open " + label));
    const auto space = free_bytes(directory.get(), bucket.label());
    if (!space) return fail(space.error());
    return AttemptDirectory{.fd = std::move(directory),
                            .host_path = bucket.host_path() + "/" + run_folder(place.run_id) + "/" + place.token.str(),
                            .free_bytes = *space};
  }
  return fail(Errc::aborted, "make " + label + ": its folder kept vanishing");
}

Result<Sealed> seal_attempt(Bucket& bucket, const AttemptPlace& place, const SealLimits& limits,
                            const OutputRank& rank) {
  const std::string what = "seal " + attempt_label(bucket, place);
  const auto workspace = bucket.workspace();
  if (!workspace) return fail(workspace.error());
  const Fd run = open_directory(bucket.directory(), run_folder(place.run_id));
  if (!run) return fail(object_error(errno, what));
  const Fd attempt = open_own_directory(run.get(), place.token.str());
  if (!attempt) return fail(object_error(errno, what));

  Sealing sealing({.attempt = attempt.get(),
                   .path = private_path(bucket.name(), run_folder(place.run_id)) + "/" + place.token.str(),
                   .copy_prefix = copy_prefix(place.token)},
                  **workspace, limits, rank);
  auto sealed = sealing.run();
  if (!sealed) return fail(sealed.error().with(what));
  return sealed;
}

Result<void> remove_copies(const Bucket& bucket, const AttemptPlace& place) {
  const std::string prefix = copy_prefix(place.token);
  Entries entries(open_directory(bucket.directory(), run_folder(place.run_id) + "/" + place.token.str()));
  int failed = 0;
  while (const Entry* entry = entries.next()) {
    if (!entry->name.starts_with(prefix)) continue;
    if (unlinkat(entries.fd(), entry->name.c_str(), 0) != 0 && errno != ENOENT) failed = errno;
  }
  if (failed == 0 && entries.error() != ENOENT) failed = entries.error();
  if (failed != 0) return fail(object_error(failed, "remove the copies of " + attempt_label(bucket, place)));
  return {};
}

Result<bool> remove_attempt_step(const Bucket& bucket, const AttemptPlace& place, std::size_t entries_max) {
  const auto parts = split_path(run_folder(place.run_id));
  const Fd folder = open_directory(bucket.directory(), parts.folder);
  if (!folder && errno == ENOENT) return true;
  if (!folder) return fail(object_error(errno, "remove " + attempt_label(bucket, place)));
  const Fd run = open_directory(folder.get(), parts.name);
  if (!run && errno == ENOENT) return true;
  if (!run) return fail(object_error(errno, "remove " + attempt_label(bucket, place)));

  auto removed = remove_tree(run.get(), place.token.str(), entries_max);
  // Fails while another attempt is in it.
  if (removed && *removed) unlinkat(folder.get(), parts.name.c_str(), AT_REMOVEDIR);
  return removed;
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
