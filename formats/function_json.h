// FunctionSpec as JSON: what the API returns, what the state store keeps, and one item of functions.millrace.
// Quantities are texts ("256Mi", "500m", "30s").
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/function_spec.h"
#include "formats/diagnostics.h"
#include "formats/json.h"

namespace millrace {

// Bounds of one function; the bounds of numbers stand where the fields are read.
inline constexpr std::size_t kFunctionNameMax = 39;
inline constexpr std::size_t kScriptBytesMax = 1 << 20;
inline constexpr std::size_t kEnvironmentMax = 512;
inline constexpr std::size_t kEnvironmentBytesMax = 64 << 10;
inline constexpr std::size_t kStoragePathsMax = 64;  // inputs, and outputs
inline constexpr std::size_t kStoragePathBytesMax = 1024;
inline constexpr std::size_t kNamePatternsMax = 64;  // in a prefix, suffix or ignore list
inline constexpr std::size_t kNamePatternBytesMax = 255;

// For whoever looks: of secrets the names alone.
[[nodiscard]] Json to_json(const FunctionSpec& function);
// For whoever must have all of it, the state store and the server that `millrace apply` sends it to. Never print it.
[[nodiscard]] Json to_full_json(const FunctionSpec& function);

// function_from_json(to_full_json(f)) is f. Unknown members are ignored: a newer version may have written them.
[[nodiscard]] Result<FunctionSpec> function_from_json(const Json& json);

// Gives the content of a script named in a function's `script` field.
using ReadScript = std::function<Result<std::string>(std::string_view path)>;

// Reads one function as an author writes it; everything wrong with it becomes a problem with its line, named below
// `path`. With `read_script` a script of one line that does not start with "#!" is a path; without it a script is
// always the content. `read_content` gives the bytes of files that `secrets` and `files` name. Fields that only the
// registry sets (uid, revision) are accepted and ignored.
[[nodiscard]] FunctionSpec read_function(const Json& json, std::string path, const ReadScript& read_script,
                                         Diagnostics& problems, const ReadScript& read_content = {});

// Whether text can be a function's name: [a-z0-9]([-a-z0-9]*[a-z0-9])?, 1 to 39 characters.
[[nodiscard]] bool is_function_name(std::string_view text);

}  // namespace millrace
