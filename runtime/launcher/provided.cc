#include "runtime/launcher/provided.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>

// Layout: for each entry one byte (1: secret), u32 length and path, u32 length and content, in the machine's own byte
// order: both ends are the same executable.

namespace millrace::launcher {
namespace {

void put_text(std::string& packed, std::string_view text) {
  const auto size = static_cast<std::uint32_t>(text.size());
  packed.append(reinterpret_cast<const char*>(&size), sizeof(size));
  packed += text;
}

std::optional<std::string> take_text(std::string_view& packed) {
  std::uint32_t size = 0;
  if (packed.size() < sizeof(size)) return std::nullopt;
  std::memcpy(&size, packed.data(), sizeof(size));
  packed.remove_prefix(sizeof(size));
  if (packed.size() < size) return std::nullopt;
  std::string text(packed.substr(0, size));
  packed.remove_prefix(size);
  return text;
}

std::unexpected<Error> refuse(const std::string& what) {
  return fail(Errc::invalid_argument, "secrets and files: " + what);
}

Result<void> check(const std::vector<ProvidedFile>& files) {
  const auto secrets = static_cast<std::size_t>(std::ranges::count_if(files, &ProvidedFile::secret));
  if (secrets > kSecretsMax || files.size() - secrets > kFilesMax) return refuse("too many");
  std::size_t bytes = 0;
  for (const ProvidedFile& file : files) {
    const bool named = file.secret ? is_secret_name(file.path) : why_no_file_path(file.path).empty();
    if (!named) return refuse("'" + file.path.substr(0, 64) + "' cannot be a name");
    if (file.content.size() > (file.secret ? kSecretBytesMax : kFileBytesMax)) {
      return refuse("'" + file.path + "' is too large");
    }
    if (!file.secret) bytes += file.content.size();
  }
  if (bytes > kFilesBytesMax) return refuse("the files together are too large");
  return {};
}

}  // namespace

Result<std::string> pack_provided(const std::vector<ProvidedFile>& files) {
  if (auto good = check(files); !good) return fail(good.error());
  std::string packed;
  for (const ProvidedFile& file : files) {
    packed.push_back(file.secret ? '\1' : '\0');
    put_text(packed, file.path);
    put_text(packed, file.content);
  }
  return packed;
}

Result<std::vector<ProvidedFile>> unpack_provided(std::string_view packed) {
  std::vector<ProvidedFile> files;
  while (!packed.empty()) {
    const char kind = packed.front();
    packed.remove_prefix(1);
    auto path = take_text(packed);
    auto content = path ? take_text(packed) : std::nullopt;
    if (!content || (kind != '\0' && kind != '\1')) return refuse("malformed");
    if (files.size() >= kSecretsMax + kFilesMax) return refuse("too many");
    files.push_back({.path = std::move(*path), .content = std::move(*content), .secret = kind == '\1'});
  }
  if (auto good = check(files); !good) return fail(good.error());
  return files;
}

}  // namespace millrace::launcher
