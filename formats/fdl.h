// FDL, the function definition language: YAML or JSON files that say which functions there are.
//
//   Diagnostics problems;
//   auto functions = read_fdl(text, [&](std::string_view path) { return read_file(folder / path); }, problems);
//   if (!problems.empty()) return fail(problems.to_error("thumbs.yaml"));
//
// A dialect is a key below `functions`: `millrace` is ours, a list of functions. OSCAR's and SCAR's are recognised and
// refused by name.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "core/function_spec.h"
#include "formats/diagnostics.h"
#include "formats/function_json.h"
#include "formats/json.h"

namespace millrace {

inline constexpr std::size_t kFdlFunctionsMax = 1000;

// The functions of a file. All that is wrong with it becomes problems; what is returned then is of no use.
// `read_script` is called for scripts that are paths, relative to the file's folder, and `read_content` for files that
// `secrets` and `files` name.
[[nodiscard]] std::vector<FunctionSpec> read_fdl(std::string_view text, const ReadScript& read_script,
                                                 Diagnostics& problems, const ReadScript& read_content = {});

// The dialect functions.millrace: a list of functions. `path` is where the list stands.
[[nodiscard]] std::vector<FunctionSpec> read_fdl_millrace(const Json& list, std::string_view path,
                                                          const ReadScript& read_script, Diagnostics& problems,
                                                          const ReadScript& read_content);

}  // namespace millrace
