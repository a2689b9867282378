#include "storage/fs/fs_object_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "storage/fs/beneath.h"
#include "storage/fs/bucket_check.h"
#include "storage/fs/listing.h"
#include "storage/fs/stopwatch.h"

namespace millrace {
namespace {

constexpr std::size_t kListLimitMax = 10'000;
constexpr mode_t kObjectMode = 0644;

std::string object_label(const std::string& bucket, const std::string& key) {
  return "'" + key + "' in bucket '" + bucket + "'";
}

// The bucket, once both names are known to be good.
Result<fs::BucketPtr> find_bucket(fs::Buckets& buckets, const std::string& bucket, const std::string& key) {
  auto good = check_bucket_name(bucket);
  if (good) good = check_key(key);
  if (!good) return fail(good.error());
  return buckets.find(bucket);
}

// A part of the way that is a file means for a reader that nothing is there.
Error read_error(int error_number, const std::string& what) {
  return error_number == ENOTDIR ? error_from_errno(error_number, what) : fs::object_error(error_number, what);
}

Error not_regular(const std::string& what) {
  return {.code = Errc::failed_precondition, .message = what + ": is no regular file"};
}

Result<ObjectInfo> stat_object(fs::Buckets& buckets, const std::string& name, const std::string& key) {
  const auto bucket = find_bucket(buckets, name, key);
  if (!bucket) return fail(bucket.error());
  const std::string what = "look at " + object_label(name, key);
  const Fd fd = fs::open_beneath((*bucket)->directory(), key, O_PATH);
  struct stat status{};
  if (!fd || fstat(fd.get(), &status) != 0) return fail(read_error(errno, what));
  if (!S_ISREG(status.st_mode)) return fail(not_regular(what));
  return ObjectInfo{.key = key, .version = fs::version_of(status)};
}

Result<OpenedObject> open_object(fs::Buckets& buckets, const ObjectRef& object) {
  std::string bucket_name = object.bucket;
  std::string path = object.key;
  auto bucket = Result<fs::BucketPtr>();
  if (object.private_path.empty()) {
    bucket = find_bucket(buckets, object.bucket, object.key);
  } else {
    auto parsed = fs::parse_private_path(object.private_path);
    if (!parsed) return fail(parsed.error());
    bucket_name = parsed->bucket;
    path = std::move(parsed->path);
    bucket = buckets.find(bucket_name);
  }
  if (!bucket) return fail(bucket.error());

  const std::string what = "open " + object_label(bucket_name, path);
  Fd fd = fs::open_beneath((*bucket)->directory(), path, O_RDONLY);
  struct stat status{};
  if (!fd || fstat(fd.get(), &status) != 0) return fail(read_error(errno, what));
  if (!S_ISREG(status.st_mode)) return fail(not_regular(what));
  return OpenedObject{
      .fd = std::move(fd), .version = fs::version_of(status), .host_path = (*bucket)->host_path() + "/" + path};
}

Result<void> remove_object(fs::Buckets& buckets, const std::string& name, const std::string& key) {
  const auto bucket = find_bucket(buckets, name, key);
  if (!bucket) return fail(bucket.error());
  const std::string what = "remove " + object_label(name, key);
  const auto parts = fs::split_path(key);
  const Fd folder = fs::open_directory((*bucket)->directory(), parts.folder);
  struct stat status{};
  if (!folder || fstatat(folder.get(), parts.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return fail(read_error(errno, what));
  }
  if (!S_ISREG(status.st_mode)) return fail(not_regular(what));
  if (unlinkat(folder.get(), parts.name.c_str(), 0) != 0) return fail(read_error(errno, what));
  if (fsync(folder.get()) != 0) return fail(error_from_errno(errno, what));
  return {};
}

// A file in `.millrace/tmp/`, removed with its owner unless it has been moved to a name.
class TemporaryFile {
 public:
  TemporaryFile(fs::BucketPtr bucket, int tmp, std::string name, Fd file)
      : bucket_(std::move(bucket)), tmp_(tmp), name_(std::move(name)), file_(std::move(file)) {}
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    if (!moved_) unlinkat(tmp_, name_.c_str(), 0);
  }

  [[nodiscard]] const fs::Bucket& bucket() const { return *bucket_; }
  [[nodiscard]] int file() const { return file_.get(); }

  [[nodiscard]] int move_to(int folder, const std::string& name) {
    const int failed = fs::rename_entry(tmp_, name_, folder, name, 0);
    moved_ = failed == 0;
    return failed;
  }

 private:
  fs::BucketPtr bucket_;
  int tmp_;  // of the bucket's workspace
  std::string name_;
  Fd file_;
  bool moved_ = false;
};

// Shared by the upload and a commit in the pool, which goes on when the upload is dropped.
using TemporaryPtr = std::shared_ptr<TemporaryFile>;

Result<TemporaryPtr> make_temporary(fs::Buckets& buckets, const std::string& name, const std::string& key) {
  const auto bucket = find_bucket(buckets, name, key);
  if (!bucket) return fail(bucket.error());
  const auto workspace = (*bucket)->workspace();
  if (!workspace) return fail(workspace.error());
  const int tmp = (*workspace)->tmp();
  std::string temporary = (*workspace)->temporary_name();
  Fd file(openat(tmp, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kObjectMode));
  if (!file) return fail(fs::object_error(errno, "put " + object_label(name, key)));
  return std::make_shared<TemporaryFile>(*bucket, tmp, std::move(temporary), std::move(file));
}

// Syncs the file and moves it to its name; durable with every folder on the way.
Result<ObjectInfo> commit_object(TemporaryFile& temporary, const std::string& key) {
  const fs::Bucket& bucket = temporary.bucket();
  const std::string what = "put " + object_label(bucket.name(), key);
  if (fsync(temporary.file()) != 0) return fail(error_from_errno(errno, what));
  const auto parts = fs::split_path(key);
  const auto folder = fs::make_folders(bucket.directory(), parts.folder);
  if (!folder) return fail(folder.error().with(what));
  if (const int failed = temporary.move_to(folder->fd.get(), parts.name); failed != 0) {
    return fail(fs::object_error(failed, what));
  }
  const auto synced = fs::sync_folder(*folder, parts.folder);
  if (!synced) return fail(synced.error().with(what));
  struct stat status{};
  if (fstat(temporary.file(), &status) != 0) return fail(error_from_errno(errno, what));
  return ObjectInfo{.key = key, .version = fs::version_of(status)};
}

}  // namespace

class FsObjectStore::FsUpload final : public Upload {
 public:
  FsUpload(FsObjectStore& store, TemporaryPtr temporary, std::string key)
      : store_(store), temporary_(std::move(temporary)), key_(std::move(key)) {}
  FsUpload(const FsUpload&) = delete;
  FsUpload& operator=(const FsUpload&) = delete;
  ~FsUpload() override {
    if (!committed_) store_.drop([temporary = std::move(temporary_)] {});
  }

  Result<void> write(std::string_view bytes) override {
    if (!usable_) return usable_;
    const int failed = fs::write_all(temporary_->file(), bytes);
    if (failed != 0) usable_ = fail(error_from_errno(failed, "put " + object_label(temporary_->bucket().name(), key_)));
    return usable_;
  }

  Task<Result<ObjectInfo>> commit() override {
    if (!usable_) co_return fail(usable_.error());
    usable_ = fail(Errc::failed_precondition, "put '" + key_ + "': committed already");
    const fs::Stopwatch time(store_.put_time_);
    auto info =
        co_await store_.pool_.run([temporary = temporary_, key = key_] { return commit_object(*temporary, key); });
    committed_ = info.has_value();
    co_return info;
  }

 private:
  FsObjectStore& store_;
  TemporaryPtr temporary_;
  std::string key_;
  Result<void> usable_;  // why nothing more can be written or committed
  bool committed_ = false;
};

FsObjectStore::FsObjectStore(EventLoop& loop, BlockingPool& pool, Metrics& metrics,
                             std::shared_ptr<fs::Buckets> buckets)
    : pool_(pool),
      put_time_(metrics.histogram("millrace_storage_seconds", "Time of storage operations.", {{"operation", "put"}})),
      dropped_(metrics.counter("millrace_storage_dropped_uploads_total", "Uploads that ended without a commit.")),
      buckets_(std::move(buckets)),
      cleaning_(loop) {}

Task<Result<void>> FsObjectStore::check_buckets(FunctionBuckets buckets) {
  auto checked =
      co_await pool_.run([all = buckets_, wanted = std::move(buckets)] { return fs::check_buckets(*all, wanted); });
  co_return checked;
}

Task<Result<void>> FsObjectStore::ensure_bucket(std::string bucket) {
  auto made = co_await pool_.run([buckets = buckets_, bucket = std::move(bucket)]() -> Result<void> {
    const auto ensured = buckets->ensure(bucket);
    if (!ensured) return fail(ensured.error());
    const auto workspace = (*ensured)->workspace();
    if (!workspace) return fail(workspace.error());
    return {};
  });
  co_return made;
}

Task<Result<std::vector<std::string>>> FsObjectStore::buckets() {
  auto names = co_await pool_.run([buckets = buckets_] { return buckets->names(); });
  co_return names;
}

Task<Result<ObjectInfo>> FsObjectStore::stat(std::string bucket, std::string key) {
  auto info = co_await pool_.run([buckets = buckets_, bucket = std::move(bucket), key = std::move(key)] {
    return stat_object(*buckets, bucket, key);
  });
  co_return info;
}

Task<Result<Listing>> FsObjectStore::list(std::string bucket, std::string prefix, std::string after,
                                          std::size_t limit) {
  if (limit == 0 || limit > kListLimitMax) {
    co_return fail(Errc::invalid_argument,
                   "list bucket '" + bucket + "': limit " + std::to_string(limit) + ", expected 1 to 10,000");
  }
  auto listing = co_await pool_.run([buckets = buckets_, bucket = std::move(bucket), prefix = std::move(prefix),
                                     after = std::move(after), limit]() -> Result<Listing> {
    const auto good = check_bucket_name(bucket);
    if (!good) return fail(good.error());
    const auto found = buckets->find(bucket);
    if (!found) return fail(found.error());
    return fs::list_objects((*found)->directory(), prefix, after, limit);
  });
  co_return listing;
}

Task<Result<OpenedObject>> FsObjectStore::open(ObjectRef object) {
  auto opened =
      co_await pool_.run([buckets = buckets_, object = std::move(object)] { return open_object(*buckets, object); });
  co_return opened;
}

Task<Result<std::unique_ptr<Upload>>> FsObjectStore::start_put(std::string bucket, std::string key) {
  auto temporary = co_await pool_.run(
      [buckets = buckets_, bucket = std::move(bucket), key] { return make_temporary(*buckets, bucket, key); });
  if (!temporary) co_return fail(temporary.error());
  co_return std::make_unique<FsUpload>(*this, std::move(*temporary), std::move(key));
}

// Unlinking a large file takes long enough to be kept off the loop.
void FsObjectStore::drop(std::move_only_function<void()> last_owner) {
  dropped_.add();
  cleaning_.spawn(drop_in_pool(std::move(last_owner)));
}

Task<void> FsObjectStore::drop_in_pool(std::move_only_function<void()> last_owner) {
  co_await pool_.run([last_owner = std::move(last_owner)]() mutable {
    last_owner = {};
    return true;
  });
}

Task<Result<void>> FsObjectStore::remove(std::string bucket, std::string key) {
  auto removed = co_await pool_.run([buckets = buckets_, bucket = std::move(bucket), key = std::move(key)] {
    return remove_object(*buckets, bucket, key);
  });
  co_return removed;
}

}  // namespace millrace
