#include "storage/fs/mark.h"

#include <sys/xattr.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <expected>
#include <string>
#include <vector>

#include "storage/fs/beneath.h"

namespace millrace::fs {
namespace {

constexpr const char* kMarkName = "user.millrace.mark";
constexpr std::string_view kUserPrefix = "user.";
constexpr std::string_view kOurPrefix = "user.millrace.";
constexpr std::size_t kAttributeBytesMax = 64 << 10;  // XATTR_SIZE_MAX of Linux
constexpr std::size_t kMarkBytesMax = 256;

using MarkText = std::array<char, kMarkBytesMax>;

// Takes the text up to the next space off the front of `rest`.
std::optional<std::string_view> next_field(std::string_view& rest) {
  const auto space = rest.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const auto field = rest.substr(0, space);
  rest.remove_prefix(space + 1);
  return field;
}

// The names of a file's attributes that users may set; errno at failure.
std::expected<std::vector<std::string>, int> user_attributes(int fd) {
  std::vector<std::string> found;
  const ssize_t size = flistxattr(fd, nullptr, 0);
  if (size < 0) return std::unexpected(errno);
  if (size == 0) return found;
  std::vector<char> names(static_cast<std::size_t>(size));
  const ssize_t listed = flistxattr(fd, names.data(), names.size());
  if (listed < 0) return std::unexpected(errno);
  for (const char* name = names.data(); name < names.data() + listed; name += std::strlen(name) + 1) {
    if (std::string_view(name).starts_with(kUserPrefix)) found.emplace_back(name);
  }
  return found;
}

// `size`: what the call that was to fill `text` returned, its errno untouched.
Result<std::optional<OutputRank>> mark_read(const MarkText& text, ssize_t size, const std::string& name) {
  if (size >= 0) return decode_mark({text.data(), static_cast<std::size_t>(size)});
  switch (errno) {
    case ENODATA:
    case EOPNOTSUPP:
    case EACCES:
    case EPERM:
    case ERANGE: return std::nullopt;
    default: return fail(object_error(errno, "read the mark of '" + name + "'"));
  }
}

int remove_foreign_marks(int fd) {
  const auto names = user_attributes(fd);
  if (!names) return names.error();
  for (const auto& name : *names) {
    if (name.starts_with(kOurPrefix) && fremovexattr(fd, name.c_str()) != 0 && errno != ENODATA) return errno;
  }
  return 0;
}

}  // namespace

std::string encode_mark(const OutputRank& rank) {
  return "1 " + rank.order.str() + " " + std::to_string(rank.generation) + " " + rank.event_id.str() + " " +
         rank.run_id.str();
}

std::optional<OutputRank> decode_mark(std::string_view text) {
  if (text.size() > kMarkBytesMax) return std::nullopt;
  const auto version = next_field(text);
  if (!version || *version != "1") return std::nullopt;
  const auto order = next_field(text);
  const auto generation = next_field(text);
  const auto event_id = next_field(text);
  if (!order || !generation || !event_id || text.contains(' ')) return std::nullopt;

  OutputRank rank{.order = Order(std::string(*order)),
                  .event_id = EventId(std::string(*event_id)),
                  .run_id = RunId(std::string(text))};
  const auto* end = generation->data() + generation->size();
  const auto parsed = std::from_chars(generation->data(), end, rank.generation);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return rank;
}

Result<std::optional<OutputRank>> read_mark(int directory, const std::string& name) {
  MarkText text{};
  // By path, and so without opening: opening a fifo or a device has effects, and needs a descriptor that may be lacking
  // just when a file hangs between two names.
  const std::string path = "/proc/self/fd/" + std::to_string(directory) + "/" + name;
  return mark_read(text, lgetxattr(path.c_str(), kMarkName, text.data(), text.size()), name);
}

Result<std::optional<OutputRank>> read_mark(int file) {
  MarkText text{};
  const std::string path = "/proc/self/fd/" + std::to_string(file);  // fgetxattr() takes no O_PATH
  return mark_read(text, getxattr(path.c_str(), kMarkName, text.data(), text.size()), path);
}

int copy_attributes(int from, int to) {
  const auto names = user_attributes(from);
  if (!names) return names.error();
  if (names->empty()) return 0;
  std::vector<char> value(kAttributeBytesMax);
  for (const auto& name : *names) {
    if (name.starts_with(kOurPrefix)) continue;
    const ssize_t size = fgetxattr(from, name.c_str(), value.data(), value.size());
    if (size < 0) return errno;
    if (fsetxattr(to, name.c_str(), value.data(), static_cast<std::size_t>(size), 0) != 0) return errno;
  }
  return 0;
}

int write_mark(int fd, const OutputRank& rank) {
  if (const int failed = remove_foreign_marks(fd); failed != 0) return failed;
  const std::string text = encode_mark(rank);
  return fsetxattr(fd, kMarkName, text.data(), text.size(), 0) == 0 ? 0 : errno;
}

}  // namespace millrace::fs
