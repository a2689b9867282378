#include "storage/fs/fs_output_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

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

Result<Sealed> seal_in(fs::Buckets& buckets, const AttemptPlace& place, const SealLimits& limits,
                       const OutputRank& rank) {
  const auto bucket = find_bucket(buckets, place);
  if (!bucket) return fail(bucket.error());
  return fs::seal_attempt(**bucket, place, limits, rank);
}

Result<AttemptUsage> measure_in(fs::Buckets& buckets, const AttemptPlace& place, const SealLimits& limits) {
  const auto bucket = find_bucket(buckets, place);
  if (!bucket) return fail(bucket.error());
  Fd attempt = fs::open_attempt(**bucket, place);
  if (!attempt) return fail(fs::object_error(errno, "measure attempt " + place.token.str()));
  return fs::measure_tree(std::move(attempt), limits);
}

Result<Placed> place_in(fs::Buckets& buckets, const OutputFile& file, const OutputRank& rank, bool last) {
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
  auto placed = fs::place_file(**workspace, (*bucket)->directory(),
                               {.folder = folder.get(),
                                .name = parts.name,
                                .device = (*from)->device(),
                                .inode = static_cast<ino_t>(file.placed.inode),
                                .original = file.source_path == file.private_path ? std::string() : file.name,
                                .last = last},
                               file.key, rank);
  if (!placed) return fail(placed.error().with((*bucket)->label()));
  return placed;
}

Result<std::optional<OutputMark>> mark_in(fs::Buckets& buckets, const std::string& name, const std::string& key) {
  auto good = check_bucket_name(name);
  if (good) good = check_key(key);
  if (!good) return fail(good.error());
  const auto bucket = buckets.find(name);
  if (!bucket) return fail(bucket.error());
  const auto parts = fs::split_path(key);
  const Fd folder = fs::open_directory((*bucket)->directory(), parts.folder);
  if (!folder) {
    const std::string what = "read the mark of '" + key + "' in bucket '" + name + "'";
    return fail(errno == ENOTDIR ? error_from_errno(errno, what) : fs::object_error(errno, what));
  }
  auto rank = fs::read_mark(folder.get(), parts.name);
  if (!rank) return fail(rank.error().with("bucket '" + name + "'"));
  if (!*rank) return std::nullopt;
  return OutputMark{.run_id = std::move((*rank)->run_id)};
}

}  // namespace

FsOutputStore::FsOutputStore(BlockingPool& pool, Metrics& metrics, std::shared_ptr<fs::Buckets> buckets)
    : pool_(pool),
      seal_time_(metrics.histogram("millrace_storage_seconds", "Time of storage operations.", {{"operation", "seal"}})),
      place_time_(
          metrics.histogram("millrace_storage_seconds", "Time of storage operations.", {{"operation", "place"}})),
      appeared_(metrics.counter("millrace_storage_placed_total", "Results placed.", {{"result", "appeared"}})),
      replaced_(metrics.counter("millrace_storage_placed_total", "Results placed.", {{"result", "replaced"}})),
      superseded_(metrics.counter("millrace_storage_placed_total", "Results placed.", {{"result", "superseded"}})),
      buckets_(std::move(buckets)) {}

Task<Result<AttemptDirectory>> FsOutputStore::make_attempt(AttemptPlace place) {
  auto made =
      co_await pool_.run([buckets = buckets_, place = std::move(place)] { return make_attempt_in(*buckets, place); });
  co_return made;
}

Task<Result<Sealed>> FsOutputStore::seal(AttemptPlace place, SealLimits limits, OutputRank rank) {
  const fs::Stopwatch time(seal_time_);
  auto sealed = co_await pool_.run([buckets = buckets_, place = std::move(place), limits, rank = std::move(rank)] {
    return seal_in(*buckets, place, limits, rank);
  });
  co_return sealed;
}

Task<Result<AttemptUsage>> FsOutputStore::measure(AttemptPlace place, SealLimits limits) {
  auto usage = co_await pool_.run(
      [buckets = buckets_, place = std::move(place), limits] { return measure_in(*buckets, place, limits); });
  co_return usage;
}

Task<Result<Placed>> FsOutputStore::place(OutputFile file, OutputRank rank, bool last) {
  const fs::Stopwatch time(place_time_);
  auto placed = co_await pool_.run([buckets = buckets_, file = std::move(file), rank = std::move(rank), last] {
    return place_in(*buckets, file, rank, last);
  });
  if (placed) {
    (*placed == Placed::appeared ? appeared_ : *placed == Placed::replaced ? replaced_ : superseded_).add();
  }
  co_return placed;
}

Task<Result<void>> FsOutputStore::remove_attempt(AttemptPlace place) {
  const auto good = fs::check_attempt(place);
  if (!good) co_return fail(good.error());
  for (int i = 0; i < kRemoveStepsMax; ++i) {
    const auto step = co_await pool_.run([buckets = buckets_, place]() -> Result<bool> {
      const auto bucket = buckets->find(place.bucket);
      // A bucket that its owner has removed took the attempt with it.
      if (!bucket && bucket.error().code == Errc::not_found) return true;
      if (!bucket) return fail(bucket.error());
      return fs::remove_attempt_step(**bucket, place, kRemoveStep);
    });
    if (!step) co_return fail(step.error());
    if (*step) co_return Result<void>{};
  }
  co_return fail(Errc::aborted, "remove attempt " + place.token.str() + ": new files kept coming in");
}

Task<Result<std::optional<OutputMark>>> FsOutputStore::mark_of(std::string bucket, std::string key) {
  auto mark = co_await pool_.run([buckets = buckets_, bucket = std::move(bucket), key = std::move(key)] {
    return mark_in(*buckets, bucket, key);
  });
  co_return mark;
}

}  // namespace millrace
