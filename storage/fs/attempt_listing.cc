#include "storage/fs/attempt_listing.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "core/file_time.h"
#include "storage/fs/attempt.h"
#include "storage/fs/beneath.h"
#include "storage/fs/entries.h"
#include "storage/fs/workspace.h"

namespace millrace::fs {
namespace {

constexpr std::size_t kShardLength = 2;

// What an entry of a shard is the attempt of; nothing for what is not ours.
std::optional<AttemptPlace> place_of(const std::string& bucket, const std::string& shard, const std::string& name) {
  const auto dash = name.find('-');
  if (dash == std::string::npos) return std::nullopt;
  AttemptPlace place{
      .bucket = bucket, .run_id = RunId(name.substr(0, dash)), .token = AttemptToken(name.substr(dash + 1))};
  if (!check_attempt(place) || !name.starts_with(shard)) return std::nullopt;
  return place;
}

// The names of folders in `folder`, sorted; a folder that is not there has none. `what` names it in errors.
Result<std::vector<std::string>> folders_in(Fd folder, const std::string& what) {
  std::vector<std::string> names;
  Entries entries(std::move(folder));
  while (const auto* entry = entries.next()) {
    if (entry->kind == EntryKind::directory) names.push_back(entry->name);
  }
  if (entries.error() != 0 && entries.error() != ENOENT) return fail(error_from_errno(entries.error(), what));
  std::ranges::sort(names);
  return names;
}

// All of one shard: with pages that end within one, each of them would read it anew.
Result<void> list_shard(const Bucket& bucket, int workspace, const std::string& shard, const AttemptPlace& after,
                        std::vector<FoundAttempt>& found) {
  const auto names = folders_in(open_directory(workspace, shard), "list the attempts in " + bucket.label());
  if (!names) return fail(names.error());
  for (const std::string& name : *names) {
    auto place = place_of(bucket.name(), shard, name);
    if (!place || *place <= after) continue;
    struct stat status{};
    // It may have gone meanwhile.
    if (fstatat(workspace, (shard + "/" + name).c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    found.push_back(
        {.place = std::move(*place), .changed_at = WallTime(std::chrono::nanoseconds(nanoseconds_of(status.st_mtim)))});
  }
  return {};
}

Result<void> list_bucket(const Bucket& bucket, const AttemptPlace& after, std::size_t limit,
                         std::vector<FoundAttempt>& found) {
  const Fd workspace = open_directory(bucket.directory(), kPrivateFolder);
  if (!workspace && errno == ENOENT) return {};
  if (!workspace) return fail(error_from_errno(errno, "list the attempts in " + bucket.label()));
  const auto shards = folders_in(open_directory(workspace.get(), "."), "list the attempts in " + bucket.label());
  if (!shards) return fail(shards.error());
  for (const std::string& shard : *shards) {
    if (found.size() >= limit) return {};
    const bool passed = bucket.name() == after.bucket && shard < after.run_id.str().substr(0, kShardLength);
    if (passed || shard.size() != kShardLength) continue;
    if (auto listed = list_shard(bucket, workspace.get(), shard, after, found); !listed) return listed;
  }
  return {};
}

}  // namespace

Result<std::vector<FoundAttempt>> list_attempts(Buckets& buckets, const AttemptPlace& after, std::size_t limit) {
  auto names = buckets.names();
  if (!names) return fail(names.error());
  names->insert(names->begin(), std::string());  // the store's own root
  std::vector<FoundAttempt> found;
  std::optional<Error> trouble;
  const auto list = [&](const std::string& name, std::size_t most) {
    const auto bucket = buckets.find(name);
    if (!bucket && bucket.error().code == Errc::not_found) return;
    const auto listed = bucket ? list_bucket(**bucket, after, most, found) : fail(bucket.error());
    if (!listed) trouble = listed.error();
  };
  for (const std::string& name : *names) {
    if (found.size() >= limit) break;
    if (name >= after.bucket) list(name, limit);
  }
  if (!found.empty()) return found;
  for (const std::string& name : *names) {
    if (name < after.bucket) list(name, 0);  // whether it can be read
  }
  if (trouble) return fail(std::move(*trouble));
  return found;
}

}  // namespace millrace::fs
