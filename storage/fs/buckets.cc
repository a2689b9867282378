#include "storage/fs/buckets.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <set>
#include <utility>

#include "storage/fs/beneath.h"
#include "storage/fs/entries.h"
#include "storage/object_store.h"

namespace millrace::fs {
namespace {

// Open buckets hold four descriptors each; the one least in use makes room for the next.
constexpr std::size_t kOpenBucketsMax = 128;
constexpr std::size_t kPrivatePathMax = 2048;  // a name of 1024 bytes, and where the attempt lies
constexpr mode_t kBucketMode = 0755;

// True if `path` is nothing but names: it cannot lead back out.
bool is_plain(std::string_view path) {
  if (path.size() > kPrivatePathMax || path.contains('\0')) return false;
  for (std::size_t at = 0; at <= path.size();) {
    const auto end = std::min(path.find('/', at), path.size());
    const auto part = path.substr(at, end - at);
    if (part.empty() || part == "." || part == "..") return false;
    at = end + 1;
  }
  return true;
}

Fd open_elsewhere(const std::string& path) {
  // The operator chose this path, links and all.
  return Fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

Result<void> make_path(const std::string& path) {
  for (std::size_t at = 1; at <= path.size(); ++at) {
    if (at != path.size() && path[at] != '/') continue;
    if (mkdir(path.substr(0, at).c_str(), kBucketMode) != 0 && errno != EEXIST) {
      return fail(object_error(errno, "make directory " + path.substr(0, at)));
    }
  }
  return {};
}

}  // namespace

Result<Workspace*> Bucket::workspace() {
  const std::lock_guard lock(mutex_);
  if (!workspace_) {
    auto opened = Workspace::open(directory_.get(), label());
    if (!opened) return fail(opened.error());
    workspace_ = std::move(*opened);
  }
  return workspace_.get();
}

Result<PrivatePath> parse_private_path(std::string_view path) {
  PrivatePath parsed;
  std::string_view rest = path;
  if (!rest.starts_with(".millrace/")) {
    const auto slash = path.find('/');
    if (slash != std::string_view::npos) {
      parsed.bucket = path.substr(0, slash);
      rest = path.substr(slash + 1);
    }
    const auto good = check_bucket_name(parsed.bucket);
    if (!good) return fail(good.error().with("private path"));
  }
  if (!rest.starts_with(".millrace/") || !is_plain(rest)) {
    return fail(Errc::invalid_argument, "private path: expected <bucket>/.millrace/...");
  }
  parsed.path = rest;
  return parsed;
}

std::string private_path(std::string_view bucket, std::string_view path) {
  return bucket.empty() ? std::string(path) : std::string(bucket) + "/" + std::string(path);
}

Result<std::shared_ptr<Buckets>> Buckets::open(const std::string& root, std::map<std::string, std::string> places) {
  for (const auto& [name, path] : places) {
    const auto good = check_bucket_name(name);
    if (!good) return fail(good.error());
    if (!path.starts_with('/')) {
      return fail(Errc::invalid_argument, "bucket '" + name + "': expected an absolute directory, not '" + path + "'");
    }
  }
  if (!root.starts_with('/')) {
    return fail(Errc::invalid_argument, "root of the store: expected an absolute directory, not '" + root + "'");
  }
  const auto made = make_path(root);
  if (!made) return fail(made.error());
  Fd directory = open_elsewhere(root);
  if (!directory) return fail(error_from_errno(errno, "open the root of the store, " + root));
  return std::shared_ptr<Buckets>(new Buckets(root, std::move(directory), std::move(places)));
}

std::string Buckets::path_of(const std::string& name) const {
  if (name.empty()) return root_path_;
  const auto place = places_.find(name);
  return place != places_.end() ? place->second : root_path_ + "/" + name;
}

Fd Buckets::open_bucket(const std::string& name) const {
  const auto place = places_.find(name);
  return place != places_.end() ? open_elsewhere(place->second) : open_directory(root_.get(), name);
}

// The bucket that was opened before, if its folder still is the one of this name. Nothing for a link, which is another
// inode, and for a bucket that lies elsewhere, whose path may lead through links.
BucketPtr Buckets::find_open(const std::string& name) {
  if (name.empty() || places_.contains(name)) return nullptr;
  struct stat status{};
  if (fstatat(root_.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) return nullptr;
  const std::lock_guard lock(mutex_);
  const auto known = open_.find(name);
  if (known == open_.end()) return nullptr;
  const Bucket& bucket = *known->second;
  return bucket.inode() == status.st_ino && bucket.device() == status.st_dev ? known->second : nullptr;
}

Result<BucketPtr> Buckets::find(const std::string& name) {
  if (!name.empty()) {
    const auto good = check_bucket_name(name);
    if (!good) return fail(good.error());
  }
  // Every call on an object comes here: one system call instead of three.
  if (auto bucket = find_open(name)) return bucket;
  Fd directory = open_bucket(name);
  struct stat status{};
  if (!directory || fstat(directory.get(), &status) != 0) {
    if (errno == ENOENT) {
      return fail(Errc::not_found, "bucket '" + name + "' does not exist (" + path_of(name) + ")");
    }
    return fail(object_error(errno, "open bucket '" + name + "' (" + path_of(name) + ")"));
  }

  const std::lock_guard lock(mutex_);
  const auto known = open_.find(name);
  if (known != open_.end() && known->second->inode() == status.st_ino && known->second->device() == status.st_dev) {
    return known->second;
  }
  if (known == open_.end() && open_.size() >= kOpenBucketsMax) {
    open_.erase(std::ranges::min_element(open_, {}, [](const auto& entry) { return entry.second.use_count(); }));
  }
  auto bucket = std::make_shared<Bucket>(name, path_of(name), std::move(directory), status.st_dev, status.st_ino);
  open_.insert_or_assign(name, bucket);
  return bucket;
}

Result<BucketPtr> Buckets::ensure(const std::string& name) {
  const auto good = check_bucket_name(name);
  if (!good) return fail(good.error());
  if (const auto place = places_.find(name); place != places_.end()) {
    const auto made = make_path(place->second);
    if (!made) return fail(made.error().with("bucket '" + name + "'"));
  } else if (mkdirat(root_.get(), name.c_str(), kBucketMode) == 0) {
    if (fsync(root_.get()) != 0) return fail(error_from_errno(errno, "sync " + root_path_));
  } else if (errno != EEXIST) {
    return fail(object_error(errno, "make bucket '" + name + "' (" + path_of(name) + ")"));
  }
  return find(name);
}

Result<std::vector<std::string>> Buckets::names() const {
  std::set<std::string> names;
  for (const auto& [name, path] : places_) {
    if (open_elsewhere(path)) names.insert(name);
  }
  Entries entries(open_directory(root_.get(), ""));
  while (const Entry* entry = entries.next()) {
    const bool is_bucket = entry->kind == EntryKind::directory && check_bucket_name(entry->name);
    if (is_bucket && !places_.contains(entry->name)) names.insert(entry->name);
  }
  if (entries.error() != 0) return fail(error_from_errno(entries.error(), "list " + root_path_));
  return std::vector<std::string>(names.begin(), names.end());
}

}  // namespace millrace::fs
