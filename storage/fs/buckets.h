// Buckets: where each bucket of the local store lies, and the descriptors through which it is reached.
//
//   auto bucket = buckets.find("videos");          // `not_found` when there is none
//   open_beneath((*bucket)->directory(), key, O_RDONLY);
//
// A bucket is a directory below the root, or one that the options name. It may be replaced by its owner at any time:
// find() notices and opens it anew.
//
// Threads: any; find() blocks.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/fd.h"
#include "storage/fs/workspace.h"

namespace millrace::fs {

class Bucket {
 public:
  Bucket(std::string name, std::string host_path, Fd directory, dev_t device, ino_t inode)
      : name_(std::move(name)),
        host_path_(std::move(host_path)),
        directory_(std::move(directory)),
        device_(device),
        inode_(inode) {}

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& host_path() const { return host_path_; }  // absolute
  [[nodiscard]] int directory() const { return directory_.get(); }
  [[nodiscard]] dev_t device() const { return device_; }
  [[nodiscard]] ino_t inode() const { return inode_; }
  [[nodiscard]] std::string label() const { return name_.empty() ? "the store's root" : "bucket '" + name_ + "'"; }

  // Our part of it, made at the first call; reading needs none.
  Result<Workspace*> workspace();

 private:
  std::string name_;
  std::string host_path_;
  Fd directory_;
  dev_t device_;
  ino_t inode_;
  std::mutex mutex_;  // guards the making of workspace_
  std::unique_ptr<Workspace> workspace_;
};

// Shared: an upload or a call in the pool keeps its bucket open while the store opens it anew, and the whole of it
// while the store goes away.
using BucketPtr = std::shared_ptr<Bucket>;

// A path as rows and events hold it, "<bucket>/.millrace/..." or ".millrace/..." in the store's own root, taken apart.
struct PrivatePath {
  std::string bucket;
  std::string path;  // below the bucket
};
[[nodiscard]] Result<PrivatePath> parse_private_path(std::string_view path);
[[nodiscard]] std::string private_path(std::string_view bucket, std::string_view path);

class Buckets {
 public:
  // `places` says which buckets lie elsewhere: absolute directories.
  static Result<std::shared_ptr<Buckets>> open(const std::string& root, std::map<std::string, std::string> places);

  // The bucket, or the store's own root for an empty name.
  [[nodiscard]] Result<BucketPtr> find(const std::string& name);

  // Makes it where it is missing.
  [[nodiscard]] Result<BucketPtr> ensure(const std::string& name);

  [[nodiscard]] Result<std::vector<std::string>> names() const;  // sorted

  // Where the bucket's directory is, or would be.
  [[nodiscard]] std::string path_of(const std::string& name) const;

 private:
  Buckets(std::string root_path, Fd root, std::map<std::string, std::string> places)
      : root_path_(std::move(root_path)), root_(std::move(root)), places_(std::move(places)) {}

  [[nodiscard]] Fd open_bucket(const std::string& name) const;
  [[nodiscard]] BucketPtr find_open(const std::string& name);

  std::string root_path_;
  Fd root_;
  std::map<std::string, std::string> places_;
  std::mutex mutex_;  // guards open_
  std::map<std::string, BucketPtr> open_;
};

}  // namespace millrace::fs
