// The executable: one command line for the server and its clients.
#include <fmt/core.h>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include <cstdlib>
#include <exception>
#include <fstream>
#include <map>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "app/config.h"
#include "app/daemon.h"
#include "app/host_check.h"
#include "app/host_remedies.h"
#include "app/log_command.h"
#include "app/serve.h"
#include "app/version.h"
#include "cli/commands.h"
#include "cli/exit_codes.h"
#include "cli/table.h"
#include "formats/json.h"

namespace {

using millrace::ConfigSource;
using millrace::Result;

constexpr const char* kWorkerListen = "127.0.0.1:0";  // its health page needs no fixed port

std::string flag_of(std::string_view option) {
  std::string flag = "--" + std::string(option);
  for (char& c : flag) {
    if (c == '_') c = '-';
  }
  return flag;
}

// Every option of the table as a flag; what is given lands in `values`.
void add_options(CLI::App& command, std::map<std::string, std::string>& values) {
  for (const auto& option : millrace::config_options()) {
    std::string text(option.text);
    text += " (" + std::string(option.type) + ", default " +
            std::string(option.fallback.empty() ? "none" : option.fallback) + ")";
    command.add_option_function<std::string>(
        flag_of(option.name),
        [&values, name = std::string(option.name)](const std::string& value) { values[name] = value; }, text);
  }
}

Result<ConfigSource> read_config_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) return millrace::fail(millrace::Errc::not_found, "cannot read the configuration file " + path);
  std::ostringstream text;
  text << file.rdbuf();
  return millrace::config_from_yaml(text.str(), path);
}

std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): before any thread
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

// All sources in their order, as one map of what differs from the defaults.
Result<std::map<std::string, std::string>> gather(const std::string& config_path,
                                                  const std::map<std::string, std::string>& flags) {
  std::vector<ConfigSource> sources;
  if (!config_path.empty()) {
    auto file = read_config_file(config_path);
    if (!file) return millrace::fail(file.error());
    sources.push_back(std::move(*file));
  }
  sources.push_back(millrace::config_from_environment(environment));
  sources.push_back({.origin = "command line", .values = flags});
  if (const auto config = millrace::load_config(sources); !config) return millrace::fail(config.error());
  std::map<std::string, std::string> values;
  for (const auto& source : sources) {
    for (const auto& [name, value] : source.values) values[name] = value;
  }
  return values;
}

int complain(const millrace::Error& error) {
  fmt::print(stderr, "millrace: {}\n", error.message);
  return millrace::cli::kUsage;
}

// Prints what was tried. Fails only when something is missing without which `serve` would not start.
int check_here(const millrace::cli::Globals& globals) {
  std::map<std::string, std::string> flags;
  if (!globals.data.empty()) flags["data"] = globals.data;
  const auto values = gather("", flags);
  if (!values) return complain(values.error());
  const auto config = millrace::load_config({{.origin = "environment", .values = *values}});
  if (!config) return complain(config.error());
  const auto controls = millrace::check_host(*config);
  const millrace::RemedyHost host{.root = ::geteuid() == 0,
                                  .groups_v2 = ::access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0};
  bool good = true;
  millrace::cli::Table table({{"CHECK"}, {"STATE"}, {"DETAIL"}});
  millrace::Json list = millrace::Json::array();
  for (const auto& control : controls) {
    const bool needed = control.name == "isolation" || control.name == "seccomp" || control.name == "kernel" ||
                        control.name == "data_directory" || control.name == "launcher";
    if (needed && control.state == millrace::ControlState::missing) good = false;
    table.add({control.name, std::string(name_of(control.state)), control.detail});
    list.append(millrace::Json::object({{"name", control.name},
                                        {"state", name_of(control.state)},
                                        {"detail", control.detail},
                                        {"remedy", remedy_of(control, host)}}));
  }
  millrace::cli::Table remedies({{"TO HAVE MORE"}, {"ENABLES"}});
  for (const auto& remedy : remedies_of(controls, host)) remedies.add({remedy.what, remedy.controls});
  if (globals.json) {
    fmt::print("{}\n", millrace::Json::object({{"checks", std::move(list)}, {"good", good}}).dump_indented());
  } else {
    fmt::print("{}", table.to_text());
    if (!remedies.empty()) fmt::print("\n{}", remedies.to_text());
  }
  return good ? millrace::cli::kOk : millrace::cli::kFailed;
}

int run(int argc, char** argv) {
  CLI::App app{"Millrace runs containers on events: files, HTTP posts and messages start isolated functions."};
  app.name("millrace");
  app.require_subcommand(1);
  app.set_version_flag("--version", [] { return "millrace " + std::string(millrace::kBuildVersion.version); });
  int status = 0;

  std::map<std::string, std::string> flags;
  std::string config_path;
  bool print_defaults = false;
  const auto start = [&] {
    auto values = gather(config_path, flags);
    if (!values) {
      status = complain(values.error());
      return;
    }
    const auto roles = values->find("roles");
    if (roles != values->end() && roles->second == "worker") values->emplace("listen", kWorkerListen);
    const auto config = millrace::load_config({{.origin = "command line", .values = *values}});
    status = config ? millrace::serve(*config, *values) : complain(config.error());
  };
  auto* serve = app.add_subcommand("serve", "Run the server on this machine");
  serve->add_option("--config", config_path, "A configuration file (YAML); flags and MILLRACE_* win over it");
  serve->add_flag("--print-config", print_defaults, "Print a commented file of all defaults and exit");
  add_options(*serve, flags);
  serve->callback([&] {
    if (print_defaults) {
      fmt::print("{}", millrace::default_config_file());
      return;
    }
    start();
  });

  auto* worker = app.add_subcommand(
      "worker", "Run functions beside other daemons: `serve --roles worker`, with a health page on a free port");
  worker->add_option("--config", config_path, "A configuration file (YAML); flags and MILLRACE_* win over it");
  add_options(*worker, flags);
  worker->callback([&] {
    flags["roles"] = "worker";
    start();
  });

  std::map<std::string, std::string> daemon_flags;
  auto* daemon = app.add_subcommand("daemon", "Started by `serve`, not by people");
  daemon->group("");  // hidden
  add_options(*daemon, daemon_flags);
  daemon->callback([&] {
    const auto config = millrace::load_config({{.origin = "command line", .values = daemon_flags}});
    status = config ? millrace::run_daemon(*config) : complain(config.error());
  });

  auto* version = app.add_subcommand("version", "Print version, commit and compiler");
  version->callback([] {
    fmt::print("millrace {} ({}, {})\n", millrace::kBuildVersion.version, millrace::kBuildVersion.commit,
               millrace::kBuildVersion.compiler);
  });

  millrace::cli::Globals globals;
  std::vector<std::string> files;
  auto* check =
      app.add_subcommand("check", "Try what this host can do; with FILES, whether the server would take them");
  check->add_option("files", files, "Function files to check against the server");
  millrace::cli::add_client_options(*check, globals);
  check->callback([&] { status = files.empty() ? check_here(globals) : millrace::cli::check_files(globals, files); });

  millrace::add_log_commands(app, globals, status);
  millrace::cli::add_commands(app, globals, status);
  return millrace::cli::parse_and_run(app, argc, argv, status);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "millrace: {}\n", error.what());
    return millrace::cli::kFailed;
  }
}
