// What a function is given beside its script: secrets, which only its run's user may read, and plain files at paths of
// its root file system. The bounds and the names, checked where they are written and again where they become files.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace millrace {

inline constexpr std::size_t kSecretsMax = 64;
inline constexpr std::size_t kSecretNameBytesMax = 128;
inline constexpr std::size_t kSecretBytesMax = 64 << 10;  // each
inline constexpr std::size_t kFilesMax = 64;
inline constexpr std::size_t kFilePathBytesMax = 1024;
inline constexpr std::size_t kFilePathDepthMax = 16;
inline constexpr std::size_t kFileBytesMax = 1 << 20;   // each
inline constexpr std::size_t kFilesBytesMax = 2 << 20;  // together

struct ProvidedFile {
  std::string path{};  // a secret's name, or where a file appears
  std::string content{};
  bool secret = false;
  bool operator==(const ProvidedFile&) const = default;
};

// One path component of letters, digits, '.', '_' and '-', that does not begin with a '.'.
[[nodiscard]] bool is_secret_name(std::string_view name);

// Why no file can be placed at this path of a sandbox; empty if one can. Absolute, plain (no "." and ".."), and not
// where every run has a place of its own (/tmp, /dev, /proc, /sys) or where we put things (/run/secrets, /oscar).
[[nodiscard]] std::string_view why_no_file_path(std::string_view path);

}  // namespace millrace
