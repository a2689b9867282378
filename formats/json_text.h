// Text as a JSON string, without building a document: for writers of lines.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

// Appends `text` in quotes, with what JSON forbids escaped; invalid UTF-8 becomes U+FFFD.
void append_json_string(std::string& out, std::string_view text);

}  // namespace millrace
