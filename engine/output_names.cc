#include "engine/output_names.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "storage/object_store.h"

namespace millrace {
namespace {

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
}

// The input's base name without its last extension; a leading dot is no extension. Who stores an input chooses its
// name, so what would be no name of a folder ("..b" without its extension is ".") gives way to what is.
std::string input_stem(const Event& event) {
  constexpr const char* kNameless = "event";
  if (!event.object) return kNameless;
  const std::string& key = event.object->key;
  const std::string name = key.substr(key.rfind('/') + 1);
  const auto dot = name.rfind('.');
  const std::string stem = dot == 0 ? name : name.substr(0, dot);
  if (check_key(stem)) return stem;
  return check_key(name) ? name : kNameless;
}

}  // namespace

bool accepts(const std::vector<std::string>& prefixes, const std::vector<std::string>& suffixes,
             std::string_view name) {
  const auto starts = [&](const std::string& prefix) { return name.starts_with(prefix); };
  const auto ends = [&](const std::string& suffix) { return name.ends_with(suffix); };
  return (prefixes.empty() || std::ranges::any_of(prefixes, starts)) &&
         (suffixes.empty() || std::ranges::any_of(suffixes, ends));
}

std::vector<OutputFile> name_outputs(const FunctionSpec& function, const Event& event, const RunId& run_id,
                                     const Sealed& sealed) {
  std::vector<OutputFile> outputs;
  for (const auto& spec : function.outputs) {
    std::string folder = spec.storage.folder();
    replace_all(folder, "{run}", run_id.str());
    replace_all(folder, "{event}", event.id.str());
    replace_all(folder, "{name}", input_stem(event));
    for (const auto& file : sealed.files) {
      if (!accepts(spec.prefix, spec.suffix, file.name)) continue;
      outputs.push_back({.name = file.name,
                         .store = "local",
                         .bucket = std::string(spec.storage.bucket()),
                         .key = folder + file.name,
                         .source_path = file.source_path,
                         .placed = file.placed,
                         .private_path = file.private_path,
                         .version = file.version,
                         .sha256 = file.sha256});
    }
  }
  return outputs;
}

}  // namespace millrace
