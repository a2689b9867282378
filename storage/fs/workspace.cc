#include "storage/fs/workspace.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <string_view>
#include <vector>

#include "core/ids.h"
#include "storage/fs/beneath.h"
#include "storage/fs/entries.h"
#include "storage/fs/placing.h"

namespace millrace::fs {
namespace {

constexpr std::size_t kInstanceBytes = 8;
constexpr std::size_t kInstanceLength = 2 * kInstanceBytes;
constexpr int kLockTries = 10;
constexpr std::string_view kCompanionSuffix = ".to";
constexpr std::size_t kKeyBytesMax = 1024;

std::string lock_name(const std::string& instance) {
  return instance + ".lock";
}

bool is_linked(int fd) {
  struct stat status{};
  return fstat(fd, &status) == 0 && status.st_nlink > 0;
}

// A directory of ours, made where it is missing.
Result<Fd> private_directory(int parent, const char* name, const std::string& label) {
  const std::string what = std::string(name) + "/ of " + label;
  if (mkdirat(parent, name, kPrivateMode) != 0 && errno != EEXIST) {
    return fail(object_error(errno, "make " + what));
  }
  Fd directory = open_directory(parent, name);
  struct stat status{};
  if (!directory || fstat(directory.get(), &status) != 0) return fail(object_error(errno, "open " + what));
  const uid_t us = geteuid();
  if (status.st_uid != us && us != 0) {
    return fail(Errc::permission_denied, what + " belongs to user " + std::to_string(status.st_uid) + ", expected " +
                                             std::to_string(us) + ": chown it, or start as that user");
  }
  if ((status.st_mode & 07777) != kPrivateMode && fchmod(directory.get(), kPrivateMode) != 0) {
    return fail(error_from_errno(errno, "close to others " + what));
  }
  return directory;
}

// Temporary entries by the instance that made them; its lock is among them.
Result<std::map<std::string, std::vector<std::string>>> entries_by_instance(int tmp) {
  std::map<std::string, std::vector<std::string>> found;
  Entries entries(open_directory(tmp, ""));
  while (const Entry* entry = entries.next()) {
    if (entry->name.size() > kInstanceLength) {
      found[entry->name.substr(0, kInstanceLength)].push_back(entry->name);
    }
  }
  if (entries.error() != 0) return fail(error_from_errno(entries.error(), "list temporary files"));
  return found;
}

Result<void> settle(int tmp, const std::string& companion, int bucket) {
  std::array<char, kKeyBytesMax + 1> key{};
  const ssize_t size = readlinkat(tmp, companion.c_str(), key.data(), key.size());
  if (size <= 0 || size > static_cast<ssize_t>(kKeyBytesMax)) return {};
  const std::string temporary = companion.substr(0, companion.size() - kCompanionSuffix.size());
  return settle_placing(tmp, temporary, bucket, {key.data(), static_cast<std::size_t>(size)});
}

}  // namespace

Result<std::unique_ptr<Workspace>> Workspace::open(int bucket, const std::string& label) {
  auto directory = private_directory(bucket, kPrivateFolder, label);
  if (!directory) return fail(directory.error());
  auto tmp = private_directory(directory->get(), "tmp", label);
  if (!tmp) return fail(tmp.error());
  auto workspace = std::unique_ptr<Workspace>(new Workspace(std::move(*directory), std::move(*tmp)));
  const auto locked = workspace->lock(label);
  if (!locked) return fail(locked.error());
  return workspace;
}

Workspace::~Workspace() {
  if (lock_) unlinkat(tmp_.get(), lock_name(instance_).c_str(), 0);
}

Result<void> Workspace::lock(const std::string& label) {
  for (int i = 0; i < kLockTries; ++i) {
    instance_ = random_hex(kInstanceBytes);
    Fd lock(openat(tmp_.get(), lock_name(instance_).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!lock && errno == EEXIST) continue;
    if (!lock) return fail(error_from_errno(errno, "make a lock in .millrace/tmp/ of " + label));
    // A sweep that came in between has taken the fresh lock for a dead one's, and removes it.
    const bool lost = flock(lock.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (lost || !is_linked(lock.get())) continue;
    lock_ = std::move(lock);
    return {};
  }
  return fail(Errc::aborted, "make a lock in .millrace/tmp/ of " + label + ": others kept taking it away");
}

std::string Workspace::temporary_name() {
  return instance_ + "-" + std::to_string(next_.fetch_add(1, std::memory_order_relaxed));
}

Result<std::uint64_t> Workspace::sweep(int bucket) {
  const auto found = entries_by_instance(tmp_.get());
  if (!found) return fail(found.error());
  std::uint64_t swept = 0;
  for (const auto& [instance, names] : *found) {
    if (instance == instance_) continue;
    const Fd lock(openat(tmp_.get(), lock_name(instance).c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!lock) return fail(error_from_errno(errno, "lock leftovers of " + instance));
    if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) continue;  // alive
      return fail(error_from_errno(errno, "lock leftovers of " + instance));
    }
    if (!is_linked(lock.get())) continue;  // somebody else has just finished this one
    for (const auto& name : names) {
      if (!name.ends_with(kCompanionSuffix)) continue;
      const auto settled = settle(tmp_.get(), name, bucket);
      if (!settled) return fail(settled.error());
    }
    for (const auto& name : names) {
      if (name == lock_name(instance)) continue;
      if (unlinkat(tmp_.get(), name.c_str(), 0) == 0) ++swept;
    }
    unlinkat(tmp_.get(), lock_name(instance).c_str(), 0);
  }
  return swept;
}

}  // namespace millrace::fs
