// The fields `secrets` and `files` of a function: maps from a name or path to content, which is a text, {base64: text},
// or {file: path} where somebody can read files. No message ever shows content.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "formats/function_json.h"
#include "formats/json.h"
#include "formats/object_reader.h"

namespace millrace {

[[nodiscard]] std::map<std::string, std::string> read_secrets(ObjectReader& in, const ReadScript& read_content);
[[nodiscard]] std::map<std::string, std::string> read_files(ObjectReader& in, const ReadScript& read_content);

// With the content, and of secrets the names alone.
[[nodiscard]] Json contents_json(const std::map<std::string, std::string>& contents);
[[nodiscard]] Json names_json(const std::map<std::string, std::string>& contents);

}  // namespace millrace
