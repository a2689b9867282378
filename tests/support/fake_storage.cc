#include "tests/support/fake_storage.h"

#include <fcntl.h>

namespace millrace {

std::string FakeStorage::path_of(const AttemptPlace& place) {
  return place.bucket + "/.millrace/" + place.run_id.str() + "/" + place.token.str();
}

Result<void> FakeStorage::enter(StorageCall call) {
  ++calls_[call];
  const auto found = failing_.find(call);
  if (found == failing_.end() || found->second.first == 0) return {};
  --found->second.first;
  return fail(found->second.second);
}

ObjectVersion FakeStorage::next_version() {
  const std::uint64_t inode = next_inode_++;
  return {.size_bytes = 1, .mtime_ns = static_cast<std::int64_t>(inode), .inode = inode};
}

ObjectRef FakeStorage::put(const std::string& bucket, const std::string& key) {
  const ObjectVersion version = next_version();
  visible_[{bucket, key}] = {.version = version, .rank = {}};
  return {.store = "local", .bucket = bucket, .key = key, .version = version, .private_path = {}};
}

std::vector<std::string> FakeStorage::visible(const std::string& bucket) const {
  std::vector<std::string> keys;
  for (const auto& [name, object] : visible_) {
    if (name.first == bucket) keys.push_back(name.second);
  }
  return keys;
}

RunId FakeStorage::owner(const std::string& bucket, const std::string& key) const {
  const auto found = visible_.find({bucket, key});
  return found == visible_.end() ? RunId() : found->second.rank.run_id;
}

int FakeStorage::appearances(const std::string& bucket, const std::string& key) const {
  const auto found = appearances_.find({bucket, key});
  return found == appearances_.end() ? 0 : found->second;
}

Task<Result<void>> FakeStorage::ensure_bucket(std::string) {
  co_await yield(loop_);
  if (const auto ok = enter(StorageCall::ensure_bucket); !ok) co_return fail(ok.error());
  co_return Result<void>{};
}

Task<Result<void>> FakeStorage::check_buckets(FunctionBuckets) {
  co_await yield(loop_);
  if (const auto ok = enter(StorageCall::check_buckets); !ok) co_return fail(ok.error());
  co_return Result<void>{};
}

Task<Result<std::vector<std::string>>> FakeStorage::buckets() {
  co_await yield(loop_);
  co_return std::vector<std::string>{};
}

Task<Result<ObjectInfo>> FakeStorage::stat(std::string bucket, std::string key) {
  co_await yield(loop_);
  const auto found = visible_.find({bucket, key});
  if (found == visible_.end()) co_return fail(Errc::not_found, key);
  co_return ObjectInfo{.key = key, .version = found->second.version};
}

Task<Result<Listing>> FakeStorage::list(std::string bucket, std::string prefix, std::string after, std::size_t limit) {
  co_await yield(loop_);
  Listing listing;
  for (const auto& [name, object] : visible_) {
    if (name.first != bucket || !name.second.starts_with(prefix) || name.second <= after) continue;
    if (listing.objects.size() == limit) {
      listing.truncated = true;
      break;
    }
    listing.objects.push_back({.key = name.second, .version = object.version});
  }
  co_return listing;
}

Task<Result<OpenedObject>> FakeStorage::open(ObjectRef object) {
  co_await yield(loop_);
  if (const auto ok = enter(StorageCall::open); !ok) co_return fail(ok.error());
  ObjectVersion version;
  if (object.private_path.empty()) {
    const auto found = visible_.find({object.bucket, object.key});
    if (found == visible_.end()) co_return fail(Errc::not_found, object.key);
    version = found->second.version;
  } else {
    const auto found = private_.find(object.private_path);
    if (found == private_.end()) co_return fail(Errc::not_found, object.private_path);
    version = found->second;
  }
  co_return OpenedObject{
      .fd = Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), .version = version, .host_path = object.key};
}

Task<Result<std::unique_ptr<Upload>>> FakeStorage::start_put(std::string, std::string) {
  co_await yield(loop_);
  co_return fail(Errc::unimplemented, "the simulation uploads nothing");
}

Task<Result<void>> FakeStorage::remove(std::string bucket, std::string key) {
  co_await yield(loop_);
  visible_.erase({bucket, key});
  co_return Result<void>{};
}

Task<Result<AttemptDirectory>> FakeStorage::make_attempt(AttemptPlace place) {
  co_await yield(loop_);
  if (const auto ok = enter(StorageCall::make_attempt); !ok) co_return fail(ok.error());
  attempts_.insert(path_of(place));
  made_[place] = loop_.wall_now();
  co_return AttemptDirectory{
      .fd = Fd(::open("/dev/null", O_RDONLY | O_CLOEXEC)), .host_path = path_of(place), .free_bytes = 1ULL << 40};
}

Task<Result<Sealed>> FakeStorage::seal(AttemptPlace place, SealLimits, OutputRank) {
  co_await yield(loop_);
  if (const auto ok = enter(StorageCall::seal); !ok) co_return fail(ok.error());
  on_seal();
  const std::string path = path_of(place);
  if (const auto found = sealed_.find(path); found != sealed_.end()) co_return found->second;
  Sealed sealed;
  for (const auto& name : left_[path]) {
    SealedFile file{.name = name,
                    .source_path = path + "/" + name,
                    .placed = next_version(),
                    .private_path = path + ".private/" + name,
                    .version = next_version(),
                    .sha256 = std::string(64, '0')};
    private_[file.private_path] = file.version;
    sealed.files.push_back(std::move(file));
  }
  sealed_[path] = sealed;
  co_return sealed;
}

Task<Result<AttemptUsage>> FakeStorage::measure(AttemptPlace, SealLimits) {
  co_await yield(loop_);
  co_return AttemptUsage{};
}

Task<Result<std::vector<Placed>>> FakeStorage::place(std::vector<OutputFile> files, OutputRank rank) {
  std::vector<Placed> all;
  std::optional<Error> error;
  for (const auto& file : files) {
    co_await yield(loop_);
    auto placed = place_one(file, rank);
    if (placed) {
      all.push_back(*placed);
    } else {
      error = error ? told_error(std::move(*error), std::move(placed.error())) : std::move(placed.error());
    }
  }
  if (error) co_return fail(std::move(*error));
  for (const auto& file : files) attempts_.erase(file.source_path.substr(0, file.source_path.rfind('/')));
  co_return all;
}

Result<Placed> FakeStorage::place_one(const OutputFile& file, const OutputRank& rank) {
  if (const auto ok = enter(StorageCall::place); !ok) return fail(ok.error());
  if (on_place) {
    if (const auto ok = on_place(file); !ok) return fail(ok.error());
  }
  const Name name{file.bucket, file.key};
  const auto found = visible_.find(name);
  if (found != visible_.end() && found->second.rank.run_id == rank.run_id) return Placed::appeared;
  if (found != visible_.end() && found->second.rank > rank) return Placed::superseded;
  const bool replaced = found != visible_.end();
  visible_[name] = {.version = file.placed, .rank = rank};
  ++appearances_[name];
  return replaced ? Placed::replaced : Placed::appeared;
}

Task<Result<void>> FakeStorage::remove_attempt(AttemptPlace place) {
  co_await yield(loop_);
  if (const auto ok = enter(StorageCall::remove_attempt); !ok) co_return fail(ok.error());
  on_remove();
  const std::string path = path_of(place);
  attempts_.erase(path);
  made_.erase(place);
  left_.erase(path);
  if (const auto sealed = sealed_.find(path); sealed != sealed_.end()) {
    for (const auto& file : sealed->second.files) private_.erase(file.private_path);
    sealed_.erase(sealed);
  }
  co_return Result<void>{};
}

Task<Result<std::vector<FoundAttempt>>> FakeStorage::attempts(AttemptPlace after, std::size_t limit) {
  co_await yield(loop_);
  if (const auto ok = enter(StorageCall::attempts); !ok) co_return fail(ok.error());
  std::vector<FoundAttempt> found;
  for (auto it = made_.upper_bound(after); it != made_.end() && found.size() < limit; ++it) {
    if (attempts_.contains(path_of(it->first))) found.push_back({.place = it->first, .changed_at = it->second});
  }
  co_return found;
}

Task<Result<std::optional<OutputMark>>> FakeStorage::mark_of(ObjectRef object) {
  co_await yield(loop_);
  const auto found = visible_.find({object.bucket, object.key});
  if (found == visible_.end() || found->second.version != object.version) co_return fail(Errc::not_found, object.key);
  if (found->second.rank.run_id.empty()) co_return std::optional<OutputMark>();
  co_return std::optional(OutputMark{.run_id = found->second.rank.run_id});
}

}  // namespace millrace
