#include "runtime/launcher/oci_config.h"

#include <array>
#include <span>

#include "runtime/launcher/cgroup.h"
#include "runtime/launcher/json_text.h"
#include "runtime/launcher/oci_seccomp.h"
#include "runtime/launcher/proc_masks.h"

namespace millrace::launcher {
namespace {

// Those of compat_capabilities().
constexpr std::array<std::string_view, 8> kCompatCapabilities{
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID",
    "CAP_KILL",  "CAP_SETGID",       "CAP_SETUID", "CAP_NET_BIND_SERVICE"};

constexpr std::array<std::string_view, 4> kReadOnlyPaths{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"};

class Writer {
 public:
  explicit Writer(const OciConfig& config) : config_(config) {}

  Result<std::string> write() {
    json_ = R"({"ociVersion":"1.0.2","root":{"path":)";
    append_quoted(json_, config_.root);
    json_ += R"(,"readonly":)";
    json_ += config_.root_read_only ? "true" : "false";
    json_ += R"(},"hostname":)";
    append_quoted(json_, config_.hostname);
    if (!add_process()) {
      return fail(Errc::invalid_argument, "an argument or a variable is no UTF-8 text, which OCI runtimes want");
    }
    add_mounts();
    add_linux();
    json_ += '}';
    return std::move(json_);
  }

 private:
  void key(std::string_view name) {
    json_ += ',';
    append_quoted(json_, name);
    json_ += ':';
  }
  void number(std::string_view name, std::uint64_t value) {
    append_quoted(json_, name);
    json_ += ':' + std::to_string(value);
  }

  bool add_strings(const char* const* strings) {
    std::vector<std::string_view> texts;
    for (; *strings != nullptr; ++strings) {
      if (!is_utf8(*strings)) return false;
      texts.emplace_back(*strings);
    }
    append_list(json_, texts);
    return true;
  }

  bool add_process() {
    key("process");
    json_ += R"({"terminal":false,"noNewPrivileges":true,"user":{)";
    number("uid", config_.user);
    json_ += ',';
    number("gid", config_.user);
    json_ += R"(},"cwd":)";
    append_quoted(json_, config_.working_directory);
    key("args");
    if (!add_strings(config_.arguments)) return false;
    key("env");
    if (!add_strings(config_.environment)) return false;
    key("capabilities");
    json_ += '{';
    for (const std::string_view set : {"bounding", "effective", "permitted", "inheritable", "ambient"}) {
      if (json_.back() != '{') json_ += ',';
      append_quoted(json_, set);
      json_ += ':';
      const bool held = config_.compat && set != "inheritable" && set != "ambient";
      append_list(json_,
                  held ? std::span<const std::string_view>(kCompatCapabilities) : std::span<const std::string_view>());
    }
    json_ += '}';
    key("rlimits");
    json_ += '[';
    for (const OciLimit& limit : config_.limits) {
      if (json_.back() != '[') json_ += ',';
      json_ += R"({"type":)";
      append_quoted(json_, limit.name);
      json_ += ',';
      number("hard", limit.value);
      json_ += ',';
      number("soft", limit.value);
      json_ += '}';
    }
    json_ += "]}";
    return true;
  }

  void add_mounts() {
    key("mounts");
    json_ += '[';
    for (const OciMount& mount : config_.mounts) {
      if (json_.back() != '[') json_ += ',';
      json_ += R"({"destination":)";
      append_quoted(json_, mount.target);
      key("type");
      append_quoted(json_, mount.type);
      key("source");
      append_quoted(json_, mount.source);
      key("options");
      append_list(json_, mount.options);
      json_ += '}';
    }
    json_ += ']';
  }

  void add_ids(std::string_view name, const std::vector<OciIdRange>& ranges) {
    append_quoted(json_, name);
    json_ += ":[";
    for (const OciIdRange& range : ranges) {
      if (json_.back() != '[') json_ += ',';
      json_ += '{';
      number("containerID", range.inside);
      json_ += ',';
      number("hostID", range.outside);
      json_ += ',';
      number("size", range.count);
      json_ += '}';
    }
    json_ += "],";
  }

  void add_linux() {
    key("linux");
    json_ += '{';
    add_ids("uidMappings", config_.users);
    add_ids("gidMappings", config_.groups);
    json_ += R"("namespaces":[{"type":"pid"},{"type":"mount"},{"type":"ipc"},{"type":"uts"},{"type":"user"},)"
             R"({"type":"cgroup"})";
    if (config_.network == Network::none) json_ += R"(,{"type":"network"})";
    json_ += R"(],"maskedPaths":)";
    append_list(json_, kMaskedPaths);
    key("readonlyPaths");
    append_list(json_, kReadOnlyPaths);
    key("seccomp");
    json_ += oci_seccomp(config_.network);
    if (!config_.control_group.empty()) add_control_group();
    json_ += '}';
  }

  // The weight of the cpu is not among them: the group has it already, and runtimes reckon it differently.
  void add_control_group() {
    key("cgroupsPath");
    append_quoted(json_, config_.control_group);
    key("resources");
    json_ += '{';
    if (config_.memory_bytes != 0) {
      json_ += R"("memory":{)";
      number("limit", config_.memory_bytes);
      json_ += "},";
    }
    if (config_.pids != 0) {
      json_ += R"("pids":{)";
      number("limit", config_.pids);
      json_ += "},";
    }
    if (config_.cpu_quota_us != 0) {
      json_ += R"("cpu":{)";
      number("quota", config_.cpu_quota_us);
      json_ += ',';
      number("period", kCpuPeriodUs);
      json_ += "},";
    }
    // All devices but the few that a runtime has to make: the user namespace may open none besides, anyway.
    json_ += R"("devices":[{"allow":false,"access":"rwm"}]})";
  }

  const OciConfig& config_;
  std::string json_;
};

}  // namespace

Result<std::string> oci_config(const OciConfig& config) {
  return Writer(config).write();
}

}  // namespace millrace::launcher
