// Workspace: `.millrace/` of one bucket, opened for writing: private copies, attempts, and files on their way to a
// name.
//
// Temporary names are `tmp/<instance>-<number>`. Each instance (one workspace of one process) holds a lock on
// `tmp/<instance>.lock` for as long as it lives, so that another can tell what a dead one left from what a living one
// is at work with, and clean up, also while several daemons share a store.
//
// A name that is about to be exchanged has a companion: the link `<temporary name>.to`, whose text is the key. If its
// owner dies between the exchange and the look at what came out, the sweep looks in its place: a file that a later run
// had placed there goes back.
//
// Threads: any.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/fd.h"

namespace millrace::fs {

inline constexpr const char* kPrivateFolder = ".millrace";

class Workspace {
 public:
  // Makes `.millrace/` (mode 0700, ours) and `.millrace/tmp/` below `bucket` where they are missing. `label` names the
  // bucket in errors.
  static Result<std::unique_ptr<Workspace>> open(int bucket, const std::string& label);
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace();

  [[nodiscard]] int directory() const { return directory_.get(); }
  [[nodiscard]] int tmp() const { return tmp_.get(); }
  [[nodiscard]] std::string temporary_name();

  // Settles and removes what dead instances left in `tmp/` of the bucket `bucket`; returns how many entries.
  Result<std::uint64_t> sweep(int bucket);

  // What this file system cannot do, found out by trying; only ever changes from true to false.
  std::atomic<bool> reflinks{true};
  std::atomic<bool> exchanges{true};

 private:
  Workspace(Fd directory, Fd tmp) : directory_(std::move(directory)), tmp_(std::move(tmp)) {}
  Result<void> lock(const std::string& label);

  Fd directory_;
  Fd tmp_;
  std::string instance_;
  Fd lock_;
  std::atomic<std::uint64_t> next_{0};
};

}  // namespace millrace::fs
