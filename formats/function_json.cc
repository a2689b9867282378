#include "formats/function_json.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "core/reserved_environment.h"
#include "core/run.h"
#include "core/units.h"
#include "formats/object_reader.h"
#include "formats/provided_json.h"
#include "formats/storage_path.h"
#include "formats/topic_spec.h"

namespace millrace {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr hours kDay(24);
constexpr std::size_t kImageBytesMax = 1024;

// Fields of OSCAR's services that functions.millrace does not have.
constexpr std::array<std::string_view, 34> kOscarOnly{"cluster_id",
                                                      "total_memory",
                                                      "total_cpu",
                                                      "ephemeral_storage_request",
                                                      "enable_gpu",
                                                      "enable_sgx",
                                                      "image_prefetch",
                                                      "synchronous",
                                                      "federation",
                                                      "log_level",
                                                      "alpine",
                                                      "token",
                                                      "image_pull_secrets",
                                                      "expose",
                                                      "annotations",
                                                      "vo",
                                                      "labels",
                                                      "storage_providers",
                                                      "clusters",
                                                      "owner",
                                                      "namespace",
                                                      "interlink_node_name",
                                                      "visibility",
                                                      "allowed_users",
                                                      "isolation_level",
                                                      "bucket_list",
                                                      "mount",
                                                      "volume",
                                                      "volume_status",
                                                      "deployment",
                                                      "kserve",
                                                      "replicas",
                                                      "delegation",
                                                      "rescheduler_threshold"};

// Fields of ours that this version does not know how to honour.
constexpr std::array<std::string_view, 1> kNotYet{"protocol"};

bool is_name_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

void read_environment(ObjectReader& in, FunctionSpec& spec) {
  const Json* json = in.find("environment");
  if (json == nullptr) return;
  // OSCAR's form {variables: {...}} beside the plain map: nobody has a map as the value of a variable.
  const Json* inner = json->find("variables");
  if (inner == nullptr) inner = json->find("Variables");
  const bool is_nested = inner != nullptr && (inner->is_object() || inner->is_null()) && json->members().size() == 1;
  if (is_nested) {
    ObjectReader nested(*json, in.path_of("environment"), in.problems());
    spec.environment = nested.text_map(json->members().front().key);
  } else {
    spec.environment = in.text_map("environment");
  }

  if (spec.environment.size() > kEnvironmentMax) {
    in.problem("environment", "has more than " + std::to_string(kEnvironmentMax) + " variables");
  }
  std::size_t bytes = 0;
  for (const auto& [name, value] : spec.environment) {
    bytes += name.size() + value.size() + 2;
    if (name.empty() || name.find_first_of(std::string_view("=\0", 2)) != std::string::npos) {
      in.problem("environment", "'" + name.substr(0, 64) + "' cannot be the name of a variable");
    }
    if (value.find('\0') != std::string::npos) {
      in.problem("environment", "the value of '" + name.substr(0, 64) + "' contains a NUL byte");
    }
  }
  if (bytes > kEnvironmentBytesMax) {
    in.problem("environment", "has more than " + std::to_string(kEnvironmentBytesMax) + " bytes");
  }
}

// Not for what is stored: an earlier version took these names, and its functions still run.
void refuse_reserved_variables(ObjectReader& in, const FunctionSpec& spec) {
  for (const auto& [name, value] : spec.environment) {
    if (!is_reserved_variable(name)) continue;
    in.problem("environment", "'" + name +
                                  "' is set by the server for every run; choose another name (docs/reference/"
                                  "functions.md lists those that are taken)");
  }
}

void read_limits(ObjectReader& in, FunctionSpec& spec) {
  const Json* json = in.find("limits");
  if (json == nullptr) return;
  ObjectReader limits(*json, in.path_of("limits"), in.problems());
  LimitsSpec& out = spec.limits;
  out.cpu_millicores = limits.millicores("cpu", out.cpu_millicores, {.min = 10, .max = 1'024'000});
  out.pids = limits.integer("pids", out.pids, {.min = 1, .max = 4'194'304});
  out.pids_explicit = limits.boolean("pids_explicit", limits.find("pids") != nullptr);
  out.open_files = limits.integer("open_files", out.open_files, {.min = 16, .max = 1'048'576});
  out.scratch_bytes = limits.bytes("scratch", out.scratch_bytes, {.min = 64 << 10, .max = 1ULL << 40});
  out.log_bytes = limits.bytes("log", out.log_bytes, {.min = 0, .max = kLogTailBytesMax});
  out.log_policy = limits.choice("log_policy", out.log_policy, log_policy_from_name, "truncate, backpressure");
  out.log_line_bytes = limits.bytes("log_line", out.log_line_bytes, {.min = 80, .max = kLogTailBytesMax});
  out.result_bytes = limits.bytes("result", out.result_bytes, {.min = 0, .max = 64ULL << 20});
  out.output_bytes = limits.bytes("output", out.output_bytes, {.min = 0, .max = 1ULL << 50});
  out.output_files = limits.integer("output_files", out.output_files, {.min = 0, .max = 10'000'000});
  limits.refuse_unknown();
}

// One item of `input` or `output`: an object, or its path alone.
OutputSpec read_storage(const Json& json, const std::string& path, bool is_input, Diagnostics& problems) {
  OutputSpec spec;
  const auto use = is_input ? PathUse::input : PathUse::output;
  const auto check = [&spec, &json, &problems, use](const std::string& where, std::string_view text) {
    if (auto parsed = parse_storage_path(text, use)) {
      spec.storage.path = std::move(*parsed);
    } else {
      problems.add(json.line(), where, parsed.error().message);
    }
  };
  if (json.is_string()) {
    check(path, *json.string());
    return spec;
  }
  ObjectReader in(json, path, problems);
  if (!json.is_object()) return spec;
  const std::string provider = in.text("storage_provider", "local");
  if (provider != "local" && provider != "local.default") {
    in.problem("storage_provider", "'" + provider.substr(0, 64) + "' is not supported in this version; expected local");
  }
  const std::string text = in.text("path");
  if (in.find("path") != nullptr) check(in.path_of("path"), text);
  if (!is_input) {
    spec.prefix = read_patterns(in, "prefix", {});
    spec.suffix = read_patterns(in, "suffix", {});
  }
  for (const std::string_view key : {"prefix", "suffix"}) {
    if (is_input && in.find(key) != nullptr) {
      in.problem(key, "an input has no filters: every new object below its path starts the function");
    }
  }
  in.refuse_unknown();
  return spec;
}

// Items of `output` that name a topic go into `topics`.
std::vector<OutputSpec> read_storages(ObjectReader& in, std::string_view key, bool is_input,
                                      std::vector<TopicOutputSpec>* topics = nullptr) {
  std::vector<OutputSpec> all;
  const Json* json = in.find(key);
  if (json == nullptr) return all;
  if (json->is_string()) {
    all.push_back(read_storage(*json, in.path_of(key), is_input, in.problems()));
    return all;
  }
  const auto& items = in.array(key);
  if (items.size() > kStoragePathsMax) in.problem(key, "has more than " + std::to_string(kStoragePathsMax) + " items");
  for (std::size_t i = 0; i < std::min(items.size(), kStoragePathsMax); ++i) {
    if (topics != nullptr && is_topic_output(items[i])) {
      topics->push_back(read_topic_output(items[i], in.path_of(key, i), in.problems()));
      continue;
    }
    all.push_back(read_storage(items[i], in.path_of(key, i), is_input, in.problems()));
    const auto& path = all.back().storage.path;
    const bool is_twice = std::any_of(all.begin(), all.end() - 1,
                                      [&path](const OutputSpec& other) { return other.storage.path == path; });
    if (is_twice && is_input && !path.empty()) in.problem(key, "'" + path + "' is there twice");
  }
  return all;
}

void read_retry(ObjectReader& in, FunctionSpec& spec) {
  spec.retries = in.integer("retries", spec.retries, {.min = 0, .max = 100});
  if (const Json* json = in.find("retry")) {
    ObjectReader retry(*json, in.path_of("retry"), in.problems());
    spec.retry_base = retry.duration("base", spec.retry_base, {.min = milliseconds(1), .max = kDay});
    spec.retry_cap =
        retry.duration("cap", std::max(spec.retry_cap, spec.retry_base), {.min = milliseconds(1), .max = 7 * kDay});
    if (spec.retry_cap < spec.retry_base) {
      retry.problem("cap",
                    "'" + format_duration(spec.retry_cap) + "' is below the base, " + format_duration(spec.retry_base));
    }
    retry.refuse_unknown();
  }
  spec.max_losses = in.integer("max_losses", spec.max_losses, {.min = 1, .max = 1000});
  spec.infrastructure_retry_for = in.duration("infrastructure_retry_for", spec.infrastructure_retry_for,
                                              {.min = milliseconds(0), .max = 30 * kDay});
  spec.dead_letter = in.boolean("dead_letter", spec.dead_letter);
  spec.publish_on_failure = in.boolean("publish_on_failure", spec.publish_on_failure);
}

std::optional<bool> ordered_by_key(std::string_view order) {
  if (order == "key") return true;
  return order == "none" ? std::optional(false) : std::nullopt;
}

void read_triggering(ObjectReader& in, FunctionSpec& spec) {
  for (auto& input : read_storages(in, "input", true)) spec.inputs.push_back({.storage = std::move(input.storage)});
  spec.outputs = read_storages(in, "output", false, &spec.topic_outputs);
  spec.topics = read_topics(in);
  spec.stage_in = !in.boolean("file_stage_in", !spec.stage_in);  // OSCAR's name says the opposite of what it does
  spec.ordered_by_key = in.choice("order", spec.ordered_by_key, ordered_by_key, "none, key");
  spec.settle = in.duration("settle", spec.settle, {.min = milliseconds(0), .max = hours(1)});
  spec.ignore = read_patterns(in, "ignore", std::move(spec.ignore));
  spec.rescan = in.duration("rescan", spec.rescan, {.min = milliseconds(100), .max = kDay});
  if (const Json* json = in.find("recursion")) {
    ObjectReader recursion(*json, in.path_of("recursion"), in.problems());
    spec.recursion_depth_max = recursion.integer("max_depth", 0U, {.min = 1, .max = 1000});
    if (json->is_object() && recursion.find("max_depth") == nullptr) recursion.problem("max_depth", "is missing");
    recursion.refuse_unknown();
  }
}

// A plain absolute path: no "." and "..", so that what is written is what is meant.
void read_rootfs(ObjectReader& in, const FunctionSpec& spec) {
  const std::string_view path = std::string_view(spec.image).substr(kRootfsPrefix.size());
  const std::string slashed = std::string(path) + "/";
  const bool plain = path.size() > 1 && path.front() == '/' && path.back() != '/' &&
                     slashed.find("//") == std::string::npos && slashed.find("/./") == std::string::npos &&
                     slashed.find("/../") == std::string::npos && slashed.find('\0') == std::string::npos;
  if (!plain || path.size() > kImageBytesMax) {
    in.problem("image",
               "expected rootfs: and the plain absolute path of a directory, such as rootfs:/srv/images/debian");
  }
}

void read_fields(ObjectReader& in, FunctionSpec& spec) {
  spec.name = in.text("name");
  if (in.find("name") != nullptr && !is_function_name(spec.name)) {
    in.problem("name", "'" + spec.name.substr(0, 64) +
                           "' is not a function's name; expected 1 to 39 of a-z, 0-9 and -, "
                           "beginning and ending with a letter or digit");
  }
  spec.image = in.text("image", spec.image);
  const bool has_space = std::ranges::any_of(spec.image, [](char c) { return static_cast<unsigned char>(c) <= ' '; });
  if (spec.image.starts_with(kRootfsPrefix)) {
    read_rootfs(in, spec);
  } else if (spec.image.empty() || spec.image.size() > kImageBytesMax || has_space) {
    in.problem("image",
               "is not the name of an image; expected host, rootfs:/path, or a reference such as "
               "docker.io/library/alpine:3");
  }
  spec.root = in.choice("root", spec.root, root_from_name, "read_only, copy_on_write");
  spec.profile = in.choice("profile", spec.profile, profile_from_name, "strict, compat");
  read_environment(in, spec);
  spec.executor = in.choice("executor", spec.executor, executor_from_name, "container, process, oci");
  spec.oci_runtime = in.text("runtime", spec.oci_runtime);
  if (!is_oci_runtime_name(spec.oci_runtime) && !spec.oci_runtime.empty()) {
    in.problem("runtime", "is not the name of an OCI runtime; expected 1 to 32 of a-z, 0-9, '-' and '_', such as runc");
  } else if (!spec.oci_runtime.empty() && spec.executor != ExecutorKind::oci) {
    in.problem("runtime", "is for executor: oci only");
  }
  spec.network = in.choice("network", spec.network, network_from_name, "none, private, host");
  spec.network_explicit = in.boolean("network_explicit", in.find("network") != nullptr);
  spec.memory_bytes = in.bytes("memory", spec.memory_bytes, {.min = 1 << 20, .max = 1ULL << 44});
  spec.cpu_millicores = in.millicores("cpu", spec.cpu_millicores, {.min = 1, .max = 1'024'000});
  read_limits(in, spec);
  // What an author wrote must hold; of defaults it is enough to say that they do not.
  spec.memory_explicit = in.boolean("memory_explicit", in.find("memory") != nullptr);
  read_triggering(in, spec);
  spec.timeout = in.duration("timeout", spec.timeout, {.min = milliseconds(10), .max = 30 * kDay});
  spec.grace = in.duration("grace", spec.grace, {.min = milliseconds(0), .max = minutes(10)});
  spec.concurrency = in.integer("concurrency", spec.concurrency, {.min = 0, .max = 10'000});
  spec.weight = in.integer("weight", spec.weight, {.min = 1, .max = 100});
  read_retry(in, spec);
}

// Scripts written on Windows run as well: "#!/bin/sh\r" names no program.
std::string with_unix_lines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r' || i + 1 == text.size() || text[i + 1] != '\n') out += text[i];
  }
  return out;
}

void read_script_field(ObjectReader& in, const ReadScript& read_script, FunctionSpec& spec) {
  const Json* json = in.find("script");
  if (json == nullptr) {
    in.problem("script", "is missing; expected the script itself or the path of a file");
    return;
  }
  if (!json->is_string() && json->find("base64") == nullptr) {
    in.problem("script", "must be a text, is " + ObjectReader::shown(*json));
    return;
  }
  spec.script = in.raw("script");
  const bool is_path = read_script && spec.script.find('\n') == std::string::npos && !spec.script.starts_with("#!");
  if (is_path && !spec.script.empty()) {
    auto content = read_script(spec.script);
    if (!content) {
      in.problem("script", content.error().with("cannot read the file '" + spec.script.substr(0, 256) + "'").message);
      return;
    }
    if (content->empty()) in.problem("script", "the file '" + spec.script.substr(0, 256) + "' is empty");
    spec.script = std::move(*content);
  } else if (spec.script.empty() && json->is_string()) {
    in.problem("script", "is empty");
  }
  if (spec.script.size() > kScriptBytesMax) {
    in.problem("script", "has " + std::to_string(spec.script.size()) + " bytes; at most " +
                             std::to_string(kScriptBytesMax) + " are accepted");
  }
  if (spec.script.find('\0') != std::string::npos) in.problem("script", "contains a NUL byte; expected a text");
  spec.script = with_unix_lines(spec.script);
}

void refuse_foreign(ObjectReader& in) {
  for (const auto key : kOscarOnly) {
    if (in.find(key) != nullptr) in.problem(key, "has no meaning in functions.millrace");
  }
  for (const auto key : kNotYet) {
    if (in.find(key) != nullptr) in.problem(key, "is not supported yet in this version");
  }
}

Json storage_json(const StoragePath& storage) {
  return Json::object({{"storage_provider", storage.provider}, {"path", storage.path}});
}

Json texts_json(const std::vector<std::string>& texts) {
  return Json::Array(texts.begin(), texts.end());
}

Json limits_json(const LimitsSpec& limits) {
  Json json = Json::object();
  if (limits.cpu_millicores != 0) json.set("cpu", format_millicores(limits.cpu_millicores));
  json.set("pids", limits.pids);
  json.set("pids_explicit", limits.pids_explicit);
  json.set("open_files", limits.open_files);
  json.set("scratch", format_bytes(limits.scratch_bytes));
  json.set("log", format_bytes(limits.log_bytes));
  json.set("log_policy", name_of(limits.log_policy));
  json.set("log_line", format_bytes(limits.log_line_bytes));
  json.set("result", format_bytes(limits.result_bytes));
  json.set("output", format_bytes(limits.output_bytes));
  json.set("output_files", limits.output_files);
  return json;
}

}  // namespace

bool is_function_name(std::string_view text) {
  if (text.empty() || text.size() > kFunctionNameMax) return false;
  if (!is_name_character(text.front()) || !is_name_character(text.back())) return false;
  return std::ranges::all_of(text, [](char c) { return is_name_character(c) || c == '-'; });
}

namespace {

Json json_of(const FunctionSpec& function, Json secrets) {
  Json environment = Json::object();
  for (const auto& [name, value] : function.environment) environment.set(name, value);
  Json input = Json::array();
  for (const auto& item : function.inputs) input.append(storage_json(item.storage));
  Json output = Json::array();
  for (const auto& item : function.outputs) {
    Json json = storage_json(item.storage);
    if (!item.prefix.empty()) json.set("prefix", texts_json(item.prefix));
    if (!item.suffix.empty()) json.set("suffix", texts_json(item.suffix));
    output.append(std::move(json));
  }
  for (const auto& item : function.topic_outputs) output.append(topic_output_json(item));

  Json json = Json::object({
      {"name", function.name},
      {"uid", function.uid.str()},
      {"revision", function.revision},
      {"image", function.image},
      {"root", name_of(function.root)},
      {"profile", name_of(function.profile)},
      {"script", raw_json(function.script)},
      {"environment", std::move(environment)},
      {"executor", name_of(function.executor)},
      {"network", name_of(function.network)},
      {"network_explicit", function.network_explicit},
      {"memory", format_bytes(function.memory_bytes)},
      {"cpu", format_millicores(function.cpu_millicores)},
      {"limits", limits_json(function.limits)},
      {"memory_explicit", function.memory_explicit},
      {"input", std::move(input)},
      {"output", std::move(output)},
      {"topics", topics_json(function.topics)},
      {"file_stage_in", !function.stage_in},
      {"timeout", format_duration(function.timeout)},
      {"grace", format_duration(function.grace)},
      {"concurrency", function.concurrency},
      {"weight", function.weight},
      {"retries", function.retries},
      {"retry",
       Json::object({{"base", format_duration(function.retry_base)}, {"cap", format_duration(function.retry_cap)}})},
      {"max_losses", function.max_losses},
      {"infrastructure_retry_for", format_duration(function.infrastructure_retry_for)},
      {"dead_letter", function.dead_letter},
      {"publish_on_failure", function.publish_on_failure},
      {"order", function.ordered_by_key ? "key" : "none"},
      {"settle", format_duration(function.settle)},
      {"ignore", texts_json(function.ignore)},
      {"rescan", format_duration(function.rescan)},
  });
  if (function.recursion_depth_max != 0) {
    json.set("recursion", Json::object({{"max_depth", function.recursion_depth_max}}));
  }
  if (!function.oci_runtime.empty()) json.set("runtime", function.oci_runtime);
  if (!function.secrets.empty()) json.set("secrets", std::move(secrets));
  if (!function.files.empty()) json.set("files", contents_json(function.files));
  return json;
}

}  // namespace

Json to_json(const FunctionSpec& function) {
  return json_of(function, names_json(function.secrets));
}

Json to_full_json(const FunctionSpec& function) {
  return json_of(function, contents_json(function.secrets));
}

Result<FunctionSpec> function_from_json(const Json& json) {
  Diagnostics problems;
  ObjectReader in(json, "", problems);
  FunctionSpec spec;
  read_fields(in, spec);
  read_script_field(in, nullptr, spec);
  spec.secrets = read_secrets(in, nullptr);
  spec.files = read_files(in, nullptr);
  spec.uid = FunctionUid(in.text("uid"));
  spec.revision = in.integer("revision", std::uint64_t{0});
  if (!problems.empty()) return fail(problems.to_error("function '" + spec.name.substr(0, kFunctionNameMax) + "'"));
  return spec;
}

FunctionSpec read_function(const Json& json, std::string path, const ReadScript& read_script, Diagnostics& problems,
                           const ReadScript& read_content) {
  FunctionSpec spec;
  ObjectReader in(json, std::move(path), problems);
  if (!json.is_object()) return spec;
  read_fields(in, spec);
  read_script_field(in, read_script, spec);
  spec.secrets = read_secrets(in, read_content);
  spec.files = read_files(in, read_content);
  refuse_reserved_variables(in, spec);
  refuse_foreign(in);
  (void)in.find("uid");
  (void)in.find("revision");
  in.refuse_unknown();
  return spec;
}

}  // namespace millrace
