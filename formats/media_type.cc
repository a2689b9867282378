#include "formats/media_type.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "formats/json.h"
#include "formats/utf8.h"

namespace millrace {
namespace {

constexpr std::size_t kLookedAtMax = 1 << 20;  // larger data is not parsed for its type

constexpr auto kByExtension = std::to_array<std::pair<std::string_view, std::string_view>>({
    {"avi", "video/x-msvideo"},
    {"bmp", "image/bmp"},
    {"css", "text/css"},
    {"csv", "text/csv"},
    {"gif", "image/gif"},
    {"gz", "application/gzip"},
    {"htm", "text/html"},
    {"html", "text/html"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript"},
    {"json", "application/json"},
    {"jsonl", "application/jsonl"},
    {"md", "text/markdown"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"parquet", "application/vnd.apache.parquet"},
    {"pdf", "application/pdf"},
    {"png", "image/png"},
    {"svg", "image/svg+xml"},
    {"tar", "application/x-tar"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"txt", "text/plain"},
    {"wav", "audio/wav"},
    {"webp", "image/webp"},
    {"xml", "application/xml"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"zip", "application/zip"},
});

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

std::string lowered(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), lower);
  return out;
}

}  // namespace

std::string_view guess_media_type(std::string_view file_name, std::string_view data) {
  const auto name = file_name.substr(file_name.rfind('/') + 1);  // npos + 1 is 0
  if (const auto dot = name.rfind('.'); dot != std::string_view::npos && dot > 0) {
    const std::string extension = lowered(name.substr(dot + 1));
    const auto* found =
        std::ranges::lower_bound(kByExtension, extension, {}, &std::pair<std::string_view, std::string_view>::first);
    if (found != kByExtension.end() && found->first == extension) return found->second;
  }
  constexpr std::string_view kBlank = " \t\r\n";
  const auto first = data.find_first_not_of(kBlank);
  const bool may_be_json = first != std::string_view::npos && (data[first] == '{' || data[first] == '[');
  if (may_be_json && parse_json(data, kLookedAtMax)) return "application/json";
  if (is_utf8(data) && data.find('\0') == std::string_view::npos) return "text/plain; charset=utf-8";
  return "application/octet-stream";
}

std::string_view without_parameters(std::string_view media_type) {
  media_type = media_type.substr(0, media_type.find(';'));
  const auto first = media_type.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return media_type.substr(first, media_type.find_last_not_of(" \t") - first + 1);
}

bool same_media_type(std::string_view one, std::string_view other) {
  return lowered(without_parameters(one)) == lowered(without_parameters(other));
}

bool is_json_type(std::string_view media_type) {
  const std::string type = lowered(without_parameters(media_type));
  return type == "application/json" || type == "text/json" || type.ends_with("+json");
}

}  // namespace millrace
