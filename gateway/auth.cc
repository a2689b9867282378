#include "gateway/auth.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "core/fd.h"
#include "core/ids.h"
#include "formats/base64.h"

namespace millrace {
namespace {

constexpr std::size_t kTokenFileBytesMax = 512;

// Compares all of both, so that the time says nothing about where they differ.
bool same_secret(std::string_view left, std::string_view right) {
  unsigned difference = left.size() == right.size() ? 0U : 1U;
  for (std::size_t i = 0; i < left.size(); ++i) {
    difference |= static_cast<unsigned>(static_cast<unsigned char>(left[i]) ^
                                        static_cast<unsigned char>(right.empty() ? '\0' : right[i % right.size()]));
  }
  return difference == 0;
}

bool has_scheme(std::string_view header, std::string_view scheme) {
  if (header.size() <= scheme.size() || header[scheme.size()] != ' ') return false;
  for (std::size_t i = 0; i < scheme.size(); ++i) {
    if ((header[i] | 0x20) != scheme[i]) return false;  // schemes are case-insensitive
  }
  return true;
}

}  // namespace

Result<void> check_authorization(std::string_view header, std::string_view token) {
  if (!token.empty()) {  // everybody knows an empty one
    if (has_scheme(header, "bearer") && same_secret(header.substr(7), token)) return {};
    if (has_scheme(header, "basic")) {
      std::string credentials(header.substr(6));
      while (credentials.size() % 4 != 0) credentials += '=';  // some clients leave the padding out
      const auto decoded = base64_decode(credentials);
      if (decoded && same_secret(*decoded, "oscar:" + std::string(token))) return {};
    }
  }
  return fail(Errc::unauthenticated,
              header.empty() ? "a token is required: Authorization: Bearer <content of admin-token>"
                             : "the token is wrong; it stands in the file admin-token of the data directory");
}

Result<std::string> load_or_make_token(const std::string& path) {
  const Fd existing(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (existing) {
    std::array<char, kTokenFileBytesMax + 1> text{};
    const ssize_t n = ::read(existing.get(), text.data(), text.size());
    if (n < 0) return fail(error_from_errno(errno, "read " + path));
    if (static_cast<std::size_t>(n) > kTokenFileBytesMax) {
      return fail(Errc::failed_precondition,
                  path + " is longer than " + std::to_string(kTokenFileBytesMax) +
                      " bytes; write a shorter token into it, or remove it to get a new one");
    }
    std::string token(text.data(), static_cast<std::size_t>(n));
    while (!token.empty() && (token.back() == '\n' || token.back() == ' ')) token.pop_back();
    if (token.size() < 16) return fail(Errc::failed_precondition, path + " holds no token of at least 16 characters");
    return token;
  }
  if (errno != ENOENT) return fail(error_from_errno(errno, "open " + path));

  // Written aside and renamed into place: a crash leaves no half token.
  std::string token = random_hex(32);
  const std::string line = token + "\n";
  const std::string aside = path + ".new";
  ::unlink(aside.c_str());
  const Fd fresh(::open(aside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fresh) return fail(error_from_errno(errno, "create " + aside));
  if (::write(fresh.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()) ||
      ::fsync(fresh.get()) != 0 || ::rename(aside.c_str(), path.c_str()) != 0) {
    return fail(error_from_errno(errno, "write " + path));
  }
  return token;
}

}  // namespace millrace
