#include "runtime/launched/function_environment.h"

namespace millrace::launched {

std::vector<std::string> function_environment(const std::map<std::string, std::string>& own,
                                              const FunctionPaths& paths) {
  std::map<std::string, std::string> variables = {
      {"TMP_INPUT_DIR", paths.input_directory}, {"TMP_OUTPUT_DIR", paths.output_directory}, {"SCRIPT", paths.script}};
  if (!paths.inputs.empty()) {
    const std::string path = paths.input_directory + "/" + paths.inputs.front();
    variables["INPUT_FILE_PATH"] = path;
    variables["INPUT_FILE"] = path;
    variables["FILE_NAME"] = paths.inputs.front();
  }
  variables.insert(own.begin(), own.end());
  variables.insert({{"PATH", std::string(kDefaultPath)}, {"HOME", paths.home}, {"TMPDIR", paths.home}});
  // UTF-8 by its own category: LANG=C.UTF-8 means the same and makes every program open a dozen more files (0.2 ms).
  if (!variables.contains("LANG") && !variables.contains("LC_ALL")) variables.insert({"LC_CTYPE", "C.UTF-8"});
  std::vector<std::string> strings;
  strings.reserve(variables.size());
  for (const auto& [name, value] : variables) strings.push_back(name + "=" + value);
  return strings;
}

}  // namespace millrace::launched
