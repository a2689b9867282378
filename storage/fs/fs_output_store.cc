#include "storage/fs/fs_output_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "core/fail_point.h"
#include "storage/fs/attempt_listing.h"
#include "storage/fs/beneath.h"
#include "storage/fs/mark.h"
#include "storage/fs/placing.h"
#include "storage/fs/stopwatch.h"
#include "storage/fs/tree.h"
#include "storage/object_store.h"

namespace millrace {
namespace {

// A thread of the pool is given back after so many entries: 10,000 unlinks take some 0.1 s on a disk.
constexpr std::size_t kRemoveStep = 10'000;
constexpr int kRemoveStepsMax = 100'000;

Result<fs::BucketPtr> find_bucket(fs::Buckets& buckets, const AttemptPlace& place) {
  const auto good = fs::check_attempt(place);
  if (!good) return fail(good.error());
  return buckets.find(place.bucket);
}

Result<AttemptDirectory> make_attempt_in(fs::Buckets& buckets, const AttemptPlace& place) {
  const auto bucket = find_bucket(buckets, place);
  if (!bucket) return fail(bucket.error());
  return fs::make_attempt_directory(**bucket, place);
}

// What is written, and where it must be synced before anybody relies on it.
struct SealedIn {
  Sealed sealed;
  fs::BucketPtr bucket;
};

struct PlacedIn {
  std::vector<Placed> placed;
  fs::BucketPtr bucket;
};

Result<SealedIn> seal_in(fs::Buckets& buckets, const AttemptPlace& place, const SealLimits& limits,
                         const OutputRank& rank) {
  const auto bucket = find_bucket(buckets, place);
  if (!bucket) return fail(bucket.error());
  auto sealed = fs::seal_attempt(**bucket, place, limits, rank);
  if (!sealed) return fail(sealed.error());
  return SealedIn{.sealed = std::move(*sealed), .bucket = *bucket};
}

Result<AttemptUsage> measure_in(fs::Buckets& buckets, const AttemptPlace& place, const SealLimits& limits) {
  const auto bucket = find_bucket(buckets, place);
  if (!bucket) return fail(bucket.error());
  Fd attempt = fs::open_attempt(**bucket, place);
  if (!attempt) return fail(fs::object_error(errno, "measure attempt " + place.token.str()));
  return fs::measure_tree(std::move(attempt), limits);
}

struct PlacedOne {
  Placed placed;
  fs::BucketPtr bucket;
};

bool is_copy(const OutputFile& file) {
  return file.source_path != file.private_path;
}

Result<PlacedOne> place_one(fs::Buckets& buckets, const OutputFile& file, const OutputRank& rank) {
  const auto good = check_key(file.key);
  if (!good) return fail(good.error());
  auto source_path = fs::parse_private_path(file.source_path);
  if (!source_path) return fail(source_path.error());
  const auto from = buckets.find(source_path->bucket);
  if (!from) return fail(from.error());
  const auto bucket = buckets.find(file.bucket);
  if (!bucket) return fail(bucket.error());
  const auto workspace = (*bucket)->workspace();
  if (!workspace) return fail(workspace.error());

  const auto parts = fs::split_path(source_path->path);
  const Fd folder = fs::open_directory((*from)->directory(), parts.folder);
  if (!folder && errno != ENOENT) return fail(fs::object_error(errno, "place '" + file.key + "'"));
  const auto placed = fs::place_file(**workspace, (*bucket)->directory(),
                                     {.folder = folder.get(),
                                      .name = parts.name,
                                      .device = (*from)->device(),
                                      .inode = static_cast<ino_t>(file.placed.inode),
                                      .original = is_copy(file) ? file.name : std::string()},
                                     file.key, rank);
  if (!placed) return fail(placed.error().with((*bucket)->label()));
  return PlacedOne{.placed = *placed, .bucket = *bucket};
}

Result<PlacedIn> place_in(fs::Buckets& buckets, const std::vector<OutputFile>& files, const OutputRank& rank) {
  PlacedIn all;
  std::optional<Error> error;
  for (const auto& file : files) {
    auto one = place_one(buckets, file, rank);
    if (!one) {
      error = error ? told_error(std::move(*error), std::move(one.error())) : std::move(one.error());
      continue;
    }
    all.placed.push_back(one->placed);
    all.bucket = std::move(one->bucket);  // all of a run's are on one file system
    MILLRACE_FAIL_POINT(after_place_one);
  }
  if (error) return fail(std::move(*error));
  return all;
}

// One that cannot be removed goes with its attempt.
void remove_copies(fs::Buckets& buckets, const std::vector<OutputFile>& files) {
  for (const auto& file : files) {
    const auto path = fs::parse_private_path(file.source_path);
    if (!path || !is_copy(file)) continue;
    const auto bucket = buckets.find(path->bucket);
    if (!bucket) continue;
    const auto parts = fs::split_path(path->path);
    const Fd folder = fs::open_directory((*bucket)->directory(), parts.folder);
    if (folder) unlinkat(folder.get(), parts.name.c_str(), 0);
  }
}

// True when nothing is left to be removed.
Result<bool> remove_in(fs::Buckets& buckets, const AttemptPlace& place) {
  const auto bucket = buckets.find(place.bucket);
  // A bucket that its owner has removed took the attempt with it.
  if (!bucket && bucket.error().code == Errc::not_found) return true;
  if (!bucket) return fail(bucket.error());
  return fs::remove_attempt_step(**bucket, place, kRemoveStep);
}

Result<std::optional<OutputMark>> mark_in(fs::Buckets& buckets, const ObjectRef& object) {
  auto good = check_bucket_name(object.bucket);
  if (good) good = check_key(object.key);
  if (!good) return fail(good.error());
  const auto bucket = buckets.find(object.bucket);
  if (!bucket) return fail(bucket.error());
  const std::string what = "read the mark of '" + object.key + "' in bucket '" + object.bucket + "'";
  const Fd file = fs::open_beneath((*bucket)->directory(), object.key, O_PATH);
  if (!file) return fail(errno == ENOTDIR ? error_from_errno(errno, what) : fs::object_error(errno, what));
  struct stat status{};
  if (fstat(file.get(), &status) != 0) return fail(fs::object_error(errno, what));
  if (fs::version_of(status) != object.version) return fail(Errc::not_found, what + ": it is another version by now");
  auto rank = fs::read_mark(file.get());
  if (!rank) return fail(rank.error().with(what));
  if (!*rank) return std::nullopt;
  return OutputMark{.run_id = std::move((*rank)->run_id)};
}

}  // namespace

FsOutputStore::FsOutputStore(EventLoop& loop, BlockingPool& pool, Metrics& metrics,
                             std::shared_ptr<fs::Buckets> buckets)
    : pool_(pool),
      seal_time_(metrics.histogram("millrace_storage_seconds", "Time of storage operations.", {{"operation", "seal"}})),
      place_time_(
          metrics.histogram("millrace_storage_seconds", "Time of storage operations.", {{"operation", "place"}})),
      appeared_(metrics.counter("millrace_storage_placed_total", "Results placed.", {{"result", "appeared"}})),
      replaced_(metrics.counter("millrace_storage_placed_total", "Results placed.", {{"result", "replaced"}})),
      superseded_(metrics.counter("millrace_storage_placed_total", "Results placed.", {{"result", "superseded"}})),
      buckets_(std::move(buckets)),
      syncs_(loop, pool, metrics) {}

Task<Result<AttemptDirectory>> FsOutputStore::make_attempt(AttemptPlace place) {
  auto made =
      co_await pool_.run([buckets = buckets_, place = std::move(place)] { return make_attempt_in(*buckets, place); });
  co_return made;
}

Task<Result<Sealed>> FsOutputStore::seal(AttemptPlace place, SealLimits limits, OutputRank rank) {
  const fs::Stopwatch time(seal_time_);
  const auto failures = syncs_.failures();
  auto sealed = co_await pool_.run([buckets = buckets_, place = std::move(place), limits, rank = std::move(rank)] {
    return seal_in(*buckets, place, limits, rank);
  });
  if (!sealed) co_return fail(sealed.error());
  if (!sealed->sealed.files.empty()) {
    const auto synced = co_await syncs_.sync(std::move(sealed->bucket), failures);
    if (!synced) co_return fail(synced.error().with("seal"));
  }
  co_return std::move(sealed->sealed);
}

Task<Result<AttemptUsage>> FsOutputStore::measure(AttemptPlace place, SealLimits limits) {
  auto usage = co_await pool_.run(
      [buckets = buckets_, place = std::move(place), limits] { return measure_in(*buckets, place, limits); });
  co_return usage;
}

Task<Result<std::vector<Placed>>> FsOutputStore::place(std::vector<OutputFile> files, OutputRank rank) {
  if (files.empty()) co_return std::vector<Placed>();
  const fs::Stopwatch time(place_time_);
  const auto failures = syncs_.failures();
  const auto results = std::make_shared<const std::vector<OutputFile>>(std::move(files));
  auto placed = co_await pool_.run(
      [buckets = buckets_, results, rank = std::move(rank)] { return place_in(*buckets, *results, rank); });
  if (!placed) co_return fail(placed.error());
  const auto synced = co_await syncs_.sync(std::move(placed->bucket), failures,
                                           [buckets = buckets_, results] { remove_copies(*buckets, *results); });
  if (!synced) co_return fail(synced.error().with("place"));
  for (const Placed what : placed->placed) {
    (what == Placed::appeared ? appeared_ : what == Placed::replaced ? replaced_ : superseded_).add();
  }
  co_return std::move(placed->placed);
}

Task<Result<void>> FsOutputStore::remove_attempt(AttemptPlace place) {
  const auto good = fs::check_attempt(place);
  if (!good) co_return fail(good.error());
  for (int i = 0; i < kRemoveStepsMax; ++i) {
    const auto done = co_await pool_.run([buckets = buckets_, place] { return remove_in(*buckets, place); });
    if (!done) co_return fail(done.error());
    if (*done) co_return Result<void>{};
  }
  co_return fail(Errc::aborted, "remove attempt " + place.token.str() + ": new files kept coming in");
}

Task<Result<std::vector<FoundAttempt>>> FsOutputStore::attempts(AttemptPlace after, std::size_t limit) {
  auto found = co_await pool_.run(
      [buckets = buckets_, after = std::move(after), limit] { return fs::list_attempts(*buckets, after, limit); });
  co_return found;
}

Task<Result<std::optional<OutputMark>>> FsOutputStore::mark_of(ObjectRef object) {
  auto mark =
      co_await pool_.run([buckets = buckets_, object = std::move(object)] { return mark_in(*buckets, object); });
  co_return mark;
}

}  // namespace millrace
