#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <utility>

#include "cli/exit_codes.h"
#include "cli/files.h"
#include "cli/groups.h"
#include "cli/text.h"
#include "core/provided_files.h"
#include "formats/fdl.h"
#include "formats/function_json.h"
#include "formats/yaml.h"

namespace millrace::cli {
namespace {

struct ApplyOptions {
  std::vector<std::string> files;
  bool check = false;
};

struct RemoveOptions {
  std::vector<std::string> names;
  bool objects = false;
};

// Scripts lie beside the file that names them.
Result<std::string> read_script(const std::filesystem::path& folder, std::string_view path) {
  const std::string place = (folder / path).string();
  auto text = read_whole(place, kScriptBytesMax);
  if (!text) return fail(text.error());
  // A script of one line would be taken for a path by whoever reads the definition next.
  if (!text->empty() && text->find('\n') == std::string::npos) *text += '\n';
  return text;
}

Result<std::vector<FunctionSpec>> read_file(const std::string& file) {
  const auto text = read_whole(file, kYamlBytesMax);
  if (!text) return fail(text.error());
  const auto folder = file == "-" ? std::filesystem::path() : std::filesystem::path(file).parent_path();
  Diagnostics problems;
  auto functions = read_fdl(
      *text, [&folder](std::string_view path) { return read_script(folder, path); }, problems,
      [&folder](std::string_view path) { return read_whole((folder / path).string(), kFileBytesMax); });
  if (!problems.empty()) return fail(problems.to_error(file == "-" ? "standard input" : file));
  return functions;
}

// One document for the server, scripts inside.
Result<Json> read_files(const std::vector<std::string>& files) {
  Json list = Json::array();
  std::vector<std::string> names;
  for (const auto& file : files) {
    const auto functions = read_file(file);
    if (!functions) return fail(functions.error());
    for (const auto& function : *functions) {
      if (std::ranges::find(names, function.name) != names.end()) {
        return fail(Errc::invalid_argument, file + ": function '" + function.name + "' stands in an earlier file too");
      }
      names.push_back(function.name);
      list.append(to_full_json(function));
    }
  }
  return Json::object({{"functions", Json::object({{"millrace", std::move(list)}})}});
}

Cell what_happened(const Json& function, bool only_check) {
  if (only_check) return {function.bool_or("created", false) ? "would be created" : "is known", Tone::plain};
  if (function.bool_or("created", false)) return {"created", Tone::good};
  if (function.bool_or("changed", false)) return {"changed", Tone::good};
  return {"unchanged", Tone::weak};
}

Result<int> apply_files(Context& context, const ApplyOptions& options) {
  const auto document = read_files(options.files);
  if (!document) return fail(document.error());
  const std::string path = options.check ? "/api/v1/functions?check=true" : "/api/v1/functions";
  const auto answer = context.client().post(path, document->dump(), "application/json");
  if (!answer) return fail(answer.error());
  if (context.json()) {
    context.print_json(*answer);
    return kOk;
  }
  const Json* functions = answer->find("functions");
  if (functions == nullptr) return fail(Errc::internal, "the server's answer lists no functions");
  Table table({{"FUNCTION"}, {"RESULT"}, {"REVISION", Align::right}});
  for (const auto& function : functions->items()) {
    const auto revision = function.uint_or("revision", 0);
    table.add({function.string_or("name", ""), what_happened(function, options.check),
               revision == 0 ? std::string("-") : std::to_string(revision)});
    Context::pass_on_warnings(function);
  }
  context.print_table(table);
  return kOk;
}

Result<int> remove_all(Context& context, const RemoveOptions& options) {
  for (const auto& name : options.names) {
    std::string path = "/api/v1/functions/" + encode_part(name);
    if (options.objects) {
      const auto object = parse_object_name(name);
      if (!object) return fail(object.error());
      if (object->key.empty())
        return fail(Errc::invalid_argument, "'" + name + "' names no object; expected BUCKET/KEY");
      path = "/api/v1/buckets/" + encode_part(object->bucket) + "/objects/" + encode_key(object->key);
    } else if (name.find('/') != std::string::npos) {
      return fail(Errc::invalid_argument, "'" + name + "' is no function; to remove an object say --object");
    }
    const auto removed = context.client().remove(path);
    if (!removed) return fail(removed.error());
    if (!context.json()) context.print("removed " + printable(name) + "\n");
  }
  if (context.json()) {
    Json removed = Json::array();
    for (const auto& name : options.names) removed.append(name);
    context.print_json(Json::object({{"removed", std::move(removed)}}));
  }
  return kOk;
}

}  // namespace

int check_files(const Globals& globals, const std::vector<std::string>& files) {
  int exit_code = kOk;
  Context context(globals, exit_code);
  context.finish(apply_files(context, {.files = files, .check = true}));
  return exit_code;
}

void add_function_commands(Commands& commands) {
  auto [apply, applied] =
      add_command(commands, "apply", "Creates or updates the functions of definition files", apply_files);
  apply.add_option("FILE", applied->files, "Definition files (YAML or JSON); - is standard input")->required();
  apply.add_flag("--check", applied->check, "Only say whether the server would take them");
  apply.footer("All files are checked before the first function is touched. Scripts are read relative to their file.");

  auto [rm, removed] = add_command(commands, "rm", "Removes functions; their data and records stay", remove_all);
  rm.add_option("NAME", removed->names, "Functions, or with --object BUCKET/KEY")->required();
  rm.add_flag("--object", removed->objects, "Remove objects instead");
}

}  // namespace millrace::cli
