#include <algorithm>
#include <string>

#include "formats/fdl.h"
#include "formats/object_reader.h"

namespace millrace {

std::vector<FunctionSpec> read_fdl_millrace(const Json& list, std::string_view path, const ReadScript& read_script,
                                            Diagnostics& problems, const ReadScript& read_content) {
  std::vector<FunctionSpec> specs;
  if (!list.is_array()) {
    problems.add(list.line(), std::string(path), "must be a list of functions, is " + ObjectReader::shown(list));
    return specs;
  }
  const auto& items = list.items();
  if (items.empty()) problems.add(list.line(), std::string(path), "has no functions");
  if (items.size() > kFdlFunctionsMax) {
    problems.add(list.line(), std::string(path),
                 "has " + std::to_string(items.size()) + " functions; at most " + std::to_string(kFdlFunctionsMax) +
                     " are accepted in one file");
    return specs;
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string item_path = std::string(path) + "[" + std::to_string(i) + "]";
    FunctionSpec spec = read_function(items[i], item_path, read_script, problems, read_content);
    const bool is_twice = std::ranges::any_of(specs, [&spec](const auto& other) { return other.name == spec.name; });
    if (is_twice && !spec.name.empty()) {
      const Json* name = items[i].find("name");
      problems.add(name->line(), item_path + ".name", "'" + spec.name + "' is the name of an earlier function too");
    }
    specs.push_back(std::move(spec));
  }
  return specs;
}

}  // namespace millrace
