// The files that commands read and write.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/fd.h"

namespace millrace::cli {

// What is wrong with a file that the command line names: `invalid_argument` where its name, its rights or its kind are,
// and what the system fails at as it is.
[[nodiscard]] Error error_of_file(int error_number, std::string_view what);

// All of a file, or of stdin for "-"; `too_large` beyond `bytes_max`. Other errors as error_of_file().
[[nodiscard]] Result<std::string> read_whole(const std::string& path, std::size_t bytes_max);

// A regular file at its start, and its size.
struct Source {
  Fd fd;
  std::uint64_t size_bytes = 0;
};

// Opens what is to be sent. "-" is stdin, which is first copied to a nameless temporary file unless it is a regular
// file itself. `invalid_argument` for what is neither a file nor "-"; other errors as error_of_file().
[[nodiscard]] Result<Source> open_source(const std::string& path);

// The last part of a path: "a/b.txt" gives "b.txt", "a/" gives "".
[[nodiscard]] std::string_view base_name(std::string_view path);

// A file that appears whole or not at all: written under a name beside `path`, then renamed.
class NewFile {
 public:
  [[nodiscard]] static Result<NewFile> create(const std::string& path);
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();  // removes what was not committed

  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] Result<void> commit();

 private:
  NewFile(Fd fd, std::string path, std::string partial);

  Fd fd_;
  std::string path_;
  std::string partial_;  // empty: nothing to remove
};

}  // namespace millrace::cli
