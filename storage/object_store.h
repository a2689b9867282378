// The object store port: buckets of objects under names, for users and for inputs.
//
//   auto upload = co_await store.start_put("videos", "a.avi");
//   (*upload)->write(chunk);                                  // on the io thread that has the bytes
//   auto info = co_await (*upload)->commit();                 // on the domain loop: durable under its name
//
// Names: a bucket is 1 to 63 of [a-z0-9.-] and starts with a letter or digit; a key is 1 to 1024 bytes of any UTF-8 or
// other bytes but NUL, without empty, "." or ".." parts and not ".millrace" or beneath it. Objects appear whole or not
// at all.
//
// Threads: everything is called on the domain loop and resumes there, except Upload::write and the descriptor of an
// opened object, which belong to whichever thread moves the bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "core/error.h"
#include "core/event.h"
#include "core/fd.h"

namespace millrace {

[[nodiscard]] Result<void> check_bucket_name(std::string_view bucket);
[[nodiscard]] Result<void> check_key(std::string_view key);

struct ObjectInfo {
  std::string key;
  ObjectVersion version;
};

struct Listing {
  std::vector<ObjectInfo> objects;  // sorted by key, bytewise
  bool truncated = false;           // more follow: list again after the last key
};

// An object opened for reading: a regular file at offset 0.
struct OpenedObject {
  Fd fd;
  ObjectVersion version;  // of what `fd` reads
  std::string host_path;  // absolute; for executors that share our view of the file system
};

// The buckets that one function reads and writes.
struct FunctionBuckets {
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
};

// An object on its way in. Dropped before commit() it leaves nothing behind.
class Upload {
 public:
  virtual ~Upload() = default;

  // Appends. Any one thread at a time; may block for as long as the file system does.
  virtual Result<void> write(std::string_view bytes) = 0;

  // Makes the object durable and visible under its name, replacing what was there. Once. `failed_precondition` naming
  // the path when the name is a directory or leads through a file.
  virtual Task<Result<ObjectInfo>> commit() = 0;
};

class ObjectStore {
 public:
  virtual ~ObjectStore() = default;

  virtual Task<Result<void>> ensure_bucket(std::string bucket) = 0;
  virtual Task<Result<std::vector<std::string>>> buckets() = 0;  // sorted

  // Whether a function could use them; makes no bucket. An error names the bucket and its place: one that is missing
  // and cannot be made, one that cannot be written to, and, as `failed_precondition`, two outputs between which what is
  // made in the one cannot be moved to the other in one step.
  virtual Task<Result<void>> check_buckets(FunctionBuckets buckets) = 0;

  virtual Task<Result<ObjectInfo>> stat(std::string bucket, std::string key) = 0;

  // Keys that start with `prefix` and come after `after`; at most `limit` (1 to 10,000). Our own `.millrace/` is never
  // shown, nor what is no regular file.
  virtual Task<Result<Listing>> list(std::string bucket, std::string prefix, std::string after, std::size_t limit) = 0;

  // `not_found` when nothing is there, `failed_precondition` when it is no regular file or leads through a link.
  virtual Task<Result<OpenedObject>> open(ObjectRef object) = 0;

  virtual Task<Result<std::unique_ptr<Upload>>> start_put(std::string bucket, std::string key) = 0;
  virtual Task<Result<void>> remove(std::string bucket, std::string key) = 0;  // `not_found` when nothing is there
};

}  // namespace millrace
