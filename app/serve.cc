#include "app/serve.h"

#include <fcntl.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/child_process.h"
#include "app/data_directory.h"
#include "app/host_check.h"
#include "app/host_image_options.h"
#include "app/launcher_image.h"
#include "app/listen_address.h"
#include "app/oci_runtimes.h"
#include "app/supervisor.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

Result<std::optional<UserIds>> daemon_user(const Config& config) {
  if (::geteuid() != 0 || config.stay_root) return std::optional<UserIds>();
  auto user = find_user(config.user);
  if (user) return std::optional(*user);
  Error error = user.error();
  if (error.code == Errc::not_found) error.code = Errc::failed_precondition;
  return fail(std::move(error));
}

// The daemon parses the same options again, from its own command line: what was in files it cannot read is in there.
std::vector<std::string> daemon_arguments(const std::map<std::string, std::string>& values) {
  std::vector<std::string> arguments{"millrace", "daemon"};
  for (const auto& [name, value] : values) {
    std::string flag = "--" + name;
    for (char& c : flag) {
      if (c == '_') c = '-';
    }
    arguments.push_back(std::move(flag));
    arguments.push_back(value);
  }
  return arguments;
}

Result<int> supervise(const Config& config, const std::map<std::string, std::string>& values, Log& log) {
  if (const auto address = parse_listen(config.listen, config.insecure_listen); !address) return fail(address.error());
  const auto user = daemon_user(config);
  if (!user) return fail(user.error());
  for (const auto& directory : config.image_directories) {
    if (const auto real = check_real_name("image_directories", directory); !real) return fail(real.error());
  }
  if (const auto good = check_host_image_paths(config); !good) return fail(good.error());
  if (const auto ready = prepare_data_directory(config.data, *user); !ready) return fail(ready.error());

  const auto lock = lock_data_directory(config.data);
  if (!lock) return fail(lock.error());

  SupervisorOptions options;
  options.launcher_image = launcher_image();
  options.launcher_arguments = {"--prefix=" + instance_name(config.data)};
  for (const auto& directory : config.image_directories) {
    options.launcher_arguments.push_back("--images=" + directory);
  }
  for (const auto& range : config.network_allow) {
    options.launcher_arguments.push_back("--network-allow=" + range);
  }
  for (const auto& range : config.network_deny) options.launcher_arguments.push_back("--network-deny=" + range);
  for (auto& flag : host_image_flags(config)) options.launcher_arguments.push_back(std::move(flag));
  for (auto& flag : oci_runtime_flags(config)) options.launcher_arguments.push_back(std::move(flag));
  options.executable = Fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (!options.executable) return fail(error_from_errno(errno, "open our own executable"));
  options.daemon_arguments = daemon_arguments(values);
  options.user = *user;
  options.deaths_max = config.restarts_max;
  options.daemon_stop_wait = config.drain_timeout + std::chrono::seconds(30);
  Supervisor supervisor(log, std::move(options));
  return supervisor.run();
}

}  // namespace

int serve(const Config& config, const std::map<std::string, std::string>& values) {
  Log log(log_options(config));
  const auto status = supervise(config, values, log);
  if (status) return *status;
  log.error("cannot serve", {{"error", status.error()}});
  return retryable(status.error().code) ? 1 : kExitConfiguration;
}

}  // namespace millrace
