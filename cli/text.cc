#include "cli/text.h"

#include <algorithm>

#include "cli/table.h"
#include "formats/base64.h"
#include "formats/timestamp.h"

namespace millrace::cli {
namespace {

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

// C1 controls, which some terminals obey, are U+0080 to U+009F: two bytes in UTF-8.
bool is_c1(std::string_view text, std::size_t i) {
  return text[i] == '\xc2' && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) >= 0x80 &&
         static_cast<unsigned char>(text[i + 1]) <= 0x9f;
}

std::string without_controls(std::string_view text, std::string_view kept) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (is_c1(text, i)) {
      out += '?';
      ++i;
    } else {
      out += is_control(text[i]) && kept.find(text[i]) == std::string_view::npos ? '?' : text[i];
    }
  }
  return out;
}

}  // namespace

std::string printable(std::string_view text) {
  return without_controls(text, "");
}
std::string printable_lines(std::string_view text) {
  return without_controls(text, "\n\t");
}

std::string text_of(const Json& json, std::string_view key) {
  const Json* value = json.find(key);
  if (value == nullptr) return {};
  if (const std::string* text = value->string()) return *text;
  return base64_decode(value->string_or("base64", "")).value_or("");
}

std::string object_name(const Json* object) {
  if (object == nullptr || !object->is_object()) return {};
  return text_of(*object, "bucket") + "/" + text_of(*object, "key");
}

std::string unplaced_text(const Json& run) {
  if (run.string_or("state", "") != "placing" || run.string_or("outcome", "").empty()) return {};
  return "outputs are not all in place: see millrace redrive " + run.string_or("function", "FUNCTION") + " --list";
}

std::string age(std::string_view timestamp, std::chrono::system_clock::time_point now) {
  if (timestamp.empty()) return {};
  const auto time = parse_timestamp(timestamp);
  if (!time) return printable(timestamp);
  const auto seconds = std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::seconds>(now - *time).count());
  if (seconds < 120) return std::to_string(seconds) + " s ago";
  if (seconds < 2 * 3600) return std::to_string(seconds / 60) + " min ago";
  if (seconds < 2 * 86'400) return std::to_string(seconds / 3600) + " h ago";
  return std::to_string(seconds / 86'400) + " d ago";
}

std::string some_of(std::span<const std::string> items, std::size_t shown) {
  // "and 1 more" says no less in as many letters as a name.
  const std::size_t count = items.size() <= shown + 1 ? items.size() : shown;
  std::string text;
  for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "" : ", ") + items[i];
  if (count < items.size()) text += " and " + std::to_string(items.size() - count) + " more";
  return text;
}

std::string counted(std::uint64_t count, std::string_view what) {
  return std::to_string(count) + " " + std::string(what) + (count == 1 ? "" : "s");
}

Result<ObjectName> parse_object_name(std::string_view text) {
  const auto slash = text.find('/');
  ObjectName name{.bucket = std::string(text.substr(0, slash)), .key = {}};
  if (slash != std::string_view::npos) name.key = std::string(text.substr(slash + 1));
  if (name.bucket.empty()) {
    return fail(Errc::invalid_argument, "'" + std::string(text) + "' names no object; expected BUCKET/KEY");
  }
  return name;
}

}  // namespace millrace::cli
