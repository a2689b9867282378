// Writing JSON for OCI runtimes. The launcher never reads any.
#pragma once

#include <string>
#include <string_view>

namespace millrace::launcher {

// JSON can say nothing else.
[[nodiscard]] bool is_utf8(std::string_view text);

// Appends `text`, which is_utf8(), in quotes.
void append_quoted(std::string& json, std::string_view text);

// ["one","two"]
template <class Texts>
void append_list(std::string& json, const Texts& texts) {
  json += '[';
  bool first = true;
  for (const std::string_view text : texts) {
    if (!first) json += ',';
    first = false;
    append_quoted(json, text);
  }
  json += ']';
}

}  // namespace millrace::launcher
