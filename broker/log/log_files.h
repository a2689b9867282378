// The files of a log: one directory, as few operations as the log needs, so that a test can fail any of them and can
// forget what was not synced.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace millrace {

// One open file. Reading and writing by offset, from any thread.
class LogFile {
 public:
  virtual ~LogFile() = default;

  virtual Result<void> write(std::string_view bytes, std::uint64_t offset) = 0;
  // How many bytes it read: fewer only at the end of the file.
  virtual Result<std::size_t> read_into(std::uint64_t offset, std::span<char> into) = 0;
  virtual Result<void> sync() = 0;                        // contents are on stable storage
  virtual Result<void> allocate(std::uint64_t size) = 0;  // all blocks are there from then on; `no_space`
  virtual Result<std::uint64_t> size() = 0;

  Result<std::string> read(std::uint64_t offset, std::size_t size) {  // shorter only at the end of the file
    std::string bytes(size, '\0');
    const auto got = read_into(offset, bytes);
    if (!got) return fail(got.error());
    bytes.resize(*got);
    return bytes;
  }
};

inline constexpr std::string_view kLogLockFile = "lock";  // beside the segments

class LogFiles {
 public:
  virtual ~LogFiles() = default;

  // Makes this process the only owner until the object goes; `failed_precondition` naming the other one.
  virtual Result<void> lock() = 0;
  virtual Result<std::vector<std::string>> list() = 0;
  virtual Result<std::shared_ptr<LogFile>> create(const std::string& name) = 0;  // or empties
  virtual Result<std::shared_ptr<LogFile>> open(const std::string& name) = 0;
  virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
  virtual Result<void> remove(const std::string& name) = 0;
  virtual Result<void> sync() = 0;  // names are on stable storage

  [[nodiscard]] virtual std::string path_of(std::string_view name) const = 0;  // for messages
};

// The real ones. Makes the directory if need be, readable by its owner only.
[[nodiscard]] Result<std::shared_ptr<LogFiles>> open_log_directory(const std::filesystem::path& directory);

// Only for looking: whatever would change something fails. lock() takes nothing; it fails while another process is the
// owner, and when one has become it since the first call, so it is called before and after. not_found: there is no such
// directory.
[[nodiscard]] Result<std::shared_ptr<LogFiles>> open_log_directory_to_read(const std::filesystem::path& directory);

}  // namespace millrace
