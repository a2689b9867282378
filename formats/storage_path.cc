#include "formats/storage_path.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace millrace {
namespace {

constexpr std::size_t kPathBytesMax = 1024;
constexpr std::size_t kBucketMax = 63;
constexpr std::size_t kPartMax = 255;  // of a file name, on every file system we know

bool is_bucket(std::string_view text) {
  if (text.empty() || text.size() > kBucketMax || text[0] == '.' || text[0] == '-') return false;
  return text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") == std::string_view::npos;
}

constexpr std::array<std::string_view, 3> kPlaceholders{"{run}", "{event}", "{name}"};

// Whether every brace belongs to a placeholder.
bool has_placeholders_only(std::string_view part) {
  for (auto at = part.find_first_of("{}"); at != std::string_view::npos; at = part.find_first_of("{}")) {
    part.remove_prefix(at);
    const auto found = std::ranges::find_if(kPlaceholders, [part](auto name) { return part.starts_with(name); });
    if (found == kPlaceholders.end()) return false;
    part.remove_prefix(found->size());
  }
  return true;
}

// What is wrong with one folder's name; empty: nothing.
std::string_view problem_of(std::string_view part, PathUse use) {
  if (part.empty()) return "has an empty part";
  if (part == "." || part == "..") return "has a part that is '.' or '..'";
  if (part.size() > kPartMax) return "has a part of more than 255 bytes";
  if (use == PathUse::input && part.find_first_of("{}") != std::string_view::npos) {
    return "has a brace, and placeholders are for outputs";
  }
  if (!has_placeholders_only(part)) return "has a brace, and the placeholders are {run}, {event} and {name}";
  if (std::ranges::any_of(part, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; })) {
    return "has a control character";
  }
  return {};
}

}  // namespace

Result<std::string> parse_storage_path(std::string_view text, PathUse use) {
  const auto bad = [text](std::string_view problem) {
    return fail(Errc::invalid_argument, "'" + std::string(text.substr(0, 128)) + "' " + std::string(problem) +
                                            "; expected bucket or bucket/folder");
  };
  if (text.empty()) return bad("is empty");
  if (text.size() > kPathBytesMax) return bad("has more than 1024 bytes");
  if (text.starts_with('/')) return bad("begins with '/'");
  if (text.ends_with('/')) text.remove_suffix(1);

  std::string_view rest = text;
  const std::string_view bucket = rest.substr(0, rest.find('/'));
  if (!is_bucket(bucket)) {
    return bad("does not begin with a bucket: 1 to 63 of a-z, 0-9, '.' and '-', the first a letter or digit");
  }
  for (bool is_first = true; bucket.size() < text.size() && rest.find('/') != std::string_view::npos;
       is_first = false) {
    rest.remove_prefix(rest.find('/') + 1);
    const std::string_view part = rest.substr(0, rest.find('/'));
    if (const auto problem = problem_of(part, use); !problem.empty()) return bad(problem);
    if (is_first && part == ".millrace") return bad("lies in .millrace, which is ours");
  }
  return std::string(text);
}

}  // namespace millrace
