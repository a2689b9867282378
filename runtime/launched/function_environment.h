// The environment that the contract of protocol `script` promises to a function.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::launched {

// Where the function finds things; as it sees them.
struct FunctionPaths {
  std::string script;
  std::string home;  // also the working directory, and TMPDIR
  std::string input_directory;
  std::string output_directory;
  std::vector<std::string> inputs;  // names; the first one is *the* input
};

inline constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// NAME=value strings: PATH, HOME, TMPDIR and LC_CTYPE, overridden by `own`, overridden by what the contract fixes
// (TMP_INPUT_DIR, TMP_OUTPUT_DIR, SCRIPT, and with an input INPUT_FILE_PATH, INPUT_FILE and FILE_NAME). LC_CTYPE is
// left to an author who chooses a locale by LANG or LC_ALL.
[[nodiscard]] std::vector<std::string> function_environment(const std::map<std::string, std::string>& own,
                                                            const FunctionPaths& paths);

}  // namespace millrace::launched
