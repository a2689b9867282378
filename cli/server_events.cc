#include "cli/server_events.h"

#include <utility>

namespace millrace::cli {
namespace {

// The value behind "name:" and one space; false for another field.
bool field(std::string_view line, std::string_view name, std::string& value) {
  if (!line.starts_with(name) || line.size() == name.size() || line[name.size()] != ':') return false;
  line.remove_prefix(name.size() + 1);
  if (line.starts_with(' ')) line.remove_prefix(1);
  value = line;
  return true;
}

}  // namespace

void ServerEvents::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto end = bytes.find('\n');
    const auto part = bytes.substr(0, end);
    if (line_.size() <= kLineBytesMax) line_ += part;
    if (end == std::string_view::npos) return;
    bytes.remove_prefix(end + 1);
    if (line_.size() <= kLineBytesMax) line(line_);
    line_.clear();
  }
}

void ServerEvents::line(std::string_view text) {
  if (text.ends_with('\r')) text.remove_suffix(1);
  if (!text.empty()) {
    if (!field(text, "event", what_)) (void)field(text, "data", data_);
    return;
  }
  const std::string what = std::exchange(what_, {});
  const auto data = parse_json(std::exchange(data_, {}), kLineBytesMax);
  if (!what.empty() && data) take_(what, *data);
}

}  // namespace millrace::cli
