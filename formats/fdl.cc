#include "formats/fdl.h"

#include <algorithm>
#include <array>
#include <string>

#include "formats/object_reader.h"
#include "formats/yaml.h"

namespace millrace {
namespace {

// SCAR's oldest format has no dialect key: `functions` is a map from name to definition.
bool is_scar_definition(const Json& json) {
  constexpr std::array<std::string_view, 7> kFields{"image",  "image_file", "init_script",   "run_script",
                                                    "lambda", "s3",         "execution_mode"};
  return std::ranges::any_of(kFields, [&json](std::string_view field) { return json.find(field) != nullptr; });
}

void refuse_dialect(const Json::Member& dialect, ObjectReader& functions) {
  const auto refuse = [&functions, &dialect](std::string text) {
    functions.problems().add(dialect.line, functions.path_of(dialect.key.substr(0, 64)), std::move(text));
  };
  if (dialect.key == "oscar") {
    refuse("OSCAR's format is not supported yet in this version; expected functions.millrace");
  } else if (dialect.key == "aws" || is_scar_definition(dialect.value)) {
    refuse("SCAR's format is not supported yet in this version; expected functions.millrace");
  } else {
    refuse("is no format we know; expected functions.millrace");
  }
}

}  // namespace

std::vector<FunctionSpec> read_fdl(std::string_view text, const ReadScript& read_script, Diagnostics& problems,
                                   const ReadScript& read_content) {
  std::vector<FunctionSpec> specs;
  const auto document = parse_yaml(text, {.verbatim = {"environment", "secrets", "files"}}, problems);
  if (!document) return specs;
  ObjectReader in(*document, "", problems);
  if (!document->is_object()) return specs;

  const Json* functions = in.find("functions");
  in.refuse_unknown();
  if (functions == nullptr) {
    in.problem("functions", "is missing; expected functions: {millrace: [...]}");
    return specs;
  }
  ObjectReader dialects(*functions, "functions", problems);
  for (const auto& dialect : functions->members()) {
    if (dialect.key == "millrace") {
      specs = read_fdl_millrace(dialect.value, "functions.millrace", read_script, problems, read_content);
    } else {
      refuse_dialect(dialect, dialects);
    }
  }
  if (functions->is_object() && functions->members().empty()) dialects.problem("millrace", "is missing");
  return specs;
}

}  // namespace millrace
