#include <algorithm>
#include <string>

#include "storage/object_store.h"
#include "storage/shown_name.h"

namespace millrace {
namespace {

constexpr std::size_t kBucketNameMax = 63;
constexpr std::size_t kKeyBytesMax = 1024;
constexpr std::size_t kShownMax = 200;

}  // namespace

std::string shown_name(std::string_view name) {
  std::string text(name.substr(0, kShownMax));
  std::ranges::replace_if(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
  if (name.size() > kShownMax) text += "...";
  return text;
}

Result<void> check_bucket_name(std::string_view bucket) {
  const auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const bool good = !bucket.empty() && bucket.size() <= kBucketNameMax && alphanumeric(bucket.front()) &&
                    std::ranges::all_of(bucket, [&](char c) { return alphanumeric(c) || c == '.' || c == '-'; });
  if (good) return {};
  return fail(Errc::invalid_argument, "bucket '" + shown_name(bucket) +
                                          "': expected 1 to 63 of a-z, 0-9, '.' and '-', beginning with a letter or "
                                          "a digit");
}

Result<void> check_key(std::string_view key) {
  const auto bad = [&](std::string_view why) {
    return fail(Errc::invalid_argument, "key '" + shown_name(key) + "': " + std::string(why));
  };
  if (key.empty()) return bad("is empty");
  if (key.size() > kKeyBytesMax) return bad("is longer than 1024 bytes");
  if (key.find('\0') != std::string_view::npos) return bad("holds a NUL byte");
  if (key == ".millrace" || key.starts_with(".millrace/")) return bad("'.millrace' is kept for Millrace itself");
  for (std::size_t at = 0; at <= key.size();) {
    const auto end = std::min(key.find('/', at), key.size());
    const auto part = key.substr(at, end - at);
    if (part.empty()) return bad("has an empty part: no leading, trailing or double '/'");
    if (part == "." || part == "..") return bad("has a '.' or '..' part");
    at = end + 1;
  }
  return {};
}

}  // namespace millrace
