// Sealing: makes the files that a function left ours. What is collected is only looked at by name first, then opened
// and looked at again; symbolic links, devices, fifos and sockets are refused and never opened.
//
// A crash at any point leaves nothing that a second run minds: private copies are made anew, everything else is set to
// what it should be.
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
// Larger files get a second link as their private copy where the file system cannot share their blocks.
inline constexpr std::uint64_t kCopiedBytesMax = 1 << 20;

struct SealingPlace {
  int run_folder = -1;
  int attempt = -1;          // the attempt's directory, in run_folder
  std::string private_name;  // of the directory of private copies, in run_folder
  std::string source_path;   // of the attempt's directory, below the store's root
  std::string private_path;  // of the directory of private copies
};

// Used once, for one attempt.
class Sealing {
 public:
  Sealing(SealingPlace place, Workspace& workspace, const SealLimits& limits, const OutputRank& rank);

  [[nodiscard]] Result<Sealed> run();

 private:
  struct Copy {
    ObjectVersion version;
    std::string sha256;
  };

  Result<void> collect(Fd directory, const std::string& prefix, std::size_t depth);
  Result<void> collect_folder(int parent, const std::string& name, const std::string& path, std::size_t depth);
  Result<void> collect_file(int parent, const std::string& name, const std::string& path);
  void refuse(const std::string& path, std::string_view why);

  Result<void> make_private_folder();
  Result<void> seal_file(const std::string& name);
  Result<Fd> open_file(const std::string& name) const;
  Result<void> claim(int file, const struct stat& status, const std::string& name) const;
  Result<Copy> make_copy(int file, const struct stat& status, const std::string& name, const std::string& copy_name);
  Result<Copy> link_copy(int file, const struct stat& status, const std::string& name,
                         const std::string& copy_name) const;
  Result<std::string> hash(int file, const struct stat& status, int copy_to, const std::string& name) const;

  SealingPlace place_;
  Workspace& workspace_;
  SealLimits limits_;
  OutputRank rank_;
  std::vector<std::string> names_;
  std::size_t entries_ = 0;
  std::size_t not_told_ = 0;  // refused beyond those that are named
  std::uint64_t bytes_ = 0;
  Fd private_;
  std::unique_ptr<char[]> buffer_;
  Sealed sealed_;
};

}  // namespace millrace::fs
