// Sealing: makes the files that a function left ours. What is collected is only looked at by name first, then opened
// and looked at again; symbolic links, devices, fifos and sockets are refused and never opened.
//
// The files themselves become the private copies and stay where the function made them. What will be placed under the
// users' names is a copy beside them, or, for a large file whose blocks cannot be shared, the file itself. So a run
// costs one folder and no removal of files: inodes are what file systems are slow at.
//
// A crash at any point leaves nothing that a second run minds: copies are made anew, everything else is set to what it
// should be.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/fd.h"
#include "storage/fs/workspace.h"
#include "storage/output_store.h"

namespace millrace::fs {

// A name has at most so many parts and bytes.
inline constexpr std::size_t kOutputDepthMax = 32;
inline constexpr std::size_t kOutputNameMax = 1024;
// Larger files are not copied where the file system cannot share their blocks: they get a second name.
inline constexpr std::uint64_t kCopiedBytesMax = 1 << 20;

struct SealingPlace {
  int attempt = -1;         // the attempt's directory
  std::string path;         // of that directory, below the store's root
  std::string copy_prefix;  // copy_prefix() of its token
};

// Names in an attempt's directory that start so are copies to be placed, not a function's files: it does not know the
// token.
[[nodiscard]] std::string copy_prefix(const AttemptToken& token);

// Used once, for one attempt.
class Sealing {
 public:
  Sealing(SealingPlace place, Workspace& workspace, const SealLimits& limits, const OutputRank& rank);

  [[nodiscard]] Result<Sealed> run();

 private:
  Result<void> collect(Fd directory, const std::string& prefix, std::size_t depth);
  Result<void> collect_folder(int parent, const std::string& name, const std::string& path, std::size_t depth);
  Result<void> collect_file(int parent, const std::string& name, const std::string& path);
  void refuse(const std::string& path, std::string_view why);

  Result<void> seal_file(const std::string& name);
  Result<Fd> open_file(const std::string& name) const;
  Result<void> copy_file(int file, const struct stat& status, SealedFile& sealed);
  Result<void> share_file(int file, const struct stat& status, SealedFile& sealed) const;
  Result<void> claim(int file, mode_t mode, const std::string& name) const;
  Result<std::string> hash(int file, const struct stat& status, int copy_to, const std::string& name) const;

  SealingPlace place_;
  Workspace& workspace_;
  SealLimits limits_;
  OutputRank rank_;
  std::vector<std::string> names_;
  std::size_t entries_ = 0;
  std::size_t not_told_ = 0;  // refused beyond those that are named
  std::uint64_t bytes_ = 0;
  std::unique_ptr<char[]> buffer_;
  Sealed sealed_;
};

}  // namespace millrace::fs
