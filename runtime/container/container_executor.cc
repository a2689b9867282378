#include "runtime/container/container_executor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "runtime/container/rootfs_image.h"
#include "runtime/launched/function_environment.h"
#include "runtime/launched/host_check.h"
#include "runtime/launched/output_meter.h"
#include "runtime/launched/run_process.h"
#include "runtime/launched/script.h"

namespace millrace {
namespace {

// A mount of the file itself shows the function what the daemon's user and primary group may read. What the daemon
// reads by other means (a supplementary group, a list of permissions, being root), and what has no name in a file
// system, is copied.
launcher::InputMode mode_of(const struct stat& status) {
  const bool readable = (status.st_uid == ::geteuid() && (status.st_mode & 0400) != 0) ||
                        (status.st_gid == ::getegid() && (status.st_mode & 0040) != 0) || (status.st_mode & 0004) != 0;
  return readable && status.st_nlink > 0 ? launcher::InputMode::mount : launcher::InputMode::copy;
}

Result<launcher::Input> input_of(const InputFile& file) {
  struct stat status{};
  if (::fstat(file.fd.get(), &status) != 0) {
    return fail(error_from_errno(errno, "look at the input '" + file.name + "'"));
  }
  return launcher::Input{.name = file.name, .mode = mode_of(status)};
}

}  // namespace

ContainerExecutor::ContainerExecutor(EventLoop& loop, launched::LauncherClient& client, BlockingPool& pool,
                                     Options options)
    : loop_(loop), client_(client), pool_(pool), options_(std::move(options)) {}

std::vector<Control> ContainerExecutor::controls() const {
  if (client_.hello() == nullptr) return {};
  return launched::controls_of(*client_.hello(), options_.kind);
}

Task<Result<std::vector<std::string>>> ContainerExecutor::check(std::shared_ptr<const FunctionSpec> function) {
  auto hello = co_await client_.wait_hello();
  if (!hello) co_return fail(hello.error());
  auto warnings = launched::check_function(
      *function, {.hello = std::move(*hello), .allow_host_network = options_.allow_host_network});
  if (!warnings) co_return std::move(warnings);
  if (container::is_rootfs(*function)) {
    auto image = co_await pool_.run(
        [function, allowed = options_.image_directories] { return container::check_rootfs(*function, allowed); });
    if (!image) co_return fail(image.error());
  } else if (function->files.empty()) {
    co_return std::move(warnings);  // nothing of the function's own is in its root file system
  }
  auto tried = co_await try_image(function);
  if (!tried) co_return fail(tried.error());
  co_return std::move(warnings);
}

Task<Result<void>> ContainerExecutor::try_image(std::shared_ptr<const FunctionSpec> function) {
  // Under a name of its own: what is checked may never be applied.
  auto trial = std::make_shared<FunctionSpec>(*function);
  trial->uid = FunctionUid("trial-" + std::to_string(++images_tried_));
  trial->revision = 1;
  trial->network = NetworkKind::none;
  const std::shared_ptr<const FunctionSpec> tried = std::move(trial);
  // What an OCI runtime is given is built in the same way, but by each run.
  auto use = co_await client_.use_template(
      {.function = tried, .kind = launcher::Kind::container, .script = true, .open_image = image_opener(tried)}, {});
  client_.forget(tried->uid, tried->revision);
  // A busy server is no fault of the image.
  const bool busy = !use && (use.error().code == Errc::resource_exhausted || use.error().code == Errc::unavailable);
  if (use || busy) co_return Result<void>{};
  co_return fail(use.error().with("image '" + function->image + "'"));
}

Task<Result<Execution>> ContainerExecutor::run(ExecutionRequest request, std::stop_token stop) {
  const auto function = request.function;
  auto use = co_await client_.use_template(
      {.function = function,
       .kind = options_.kind == ExecutorKind::oci ? launcher::Kind::oci : launcher::Kind::container,
       .script = true,
       .probe_directory = request.output_directory.get(),
       .open_image = image_opener(function)},
      stop);
  if (!use) co_return fail(use.error());

  launched::FunctionPaths paths{.script = std::string(launcher::kScriptPath),
                                .home = "/tmp",
                                .input_directory = std::string(launcher::kInputDirectory),
                                .output_directory = std::string(launcher::kOutputDirectory),
                                .inputs = {}};
  launched::RunPlan plan;
  plan.function = function;
  plan.spawn.hostname = function->name;
  plan.argv = launched::argv_of(function->script, paths.script);
  plan.input_bytes = std::move(request.input_bytes);
  plan.on_log = std::move(request.on_log);
  if (request.output_directory) {
    const auto outputs = std::make_shared<const Fd>(::fcntl(request.output_directory.get(), F_DUPFD_CLOEXEC, 0));
    if (!*outputs) co_return fail(error_from_errno(errno, "measure the outputs"));
    plan.measure = [this, outputs, function] {
      return pool_.run([outputs, function] { return launched::measure_outputs(outputs->get(), function->limits); });
    };
    plan.spawn.output = true;
    plan.files.push_back(std::move(request.output_directory));
  }
  for (InputFile& file : request.inputs) {
    auto input = input_of(file);
    if (!input) co_return fail(input.error());
    paths.inputs.push_back(file.name);
    plan.spawn.inputs.push_back(std::move(*input));
    plan.files.push_back(std::move(file.fd));
  }
  plan.environment = launched::function_environment(request.environment, paths);
  auto execution = co_await launched::run_process(loop_, client_, *use, std::move(plan), stop);
  co_return std::move(execution);
}

std::function<Task<Result<Fd>>()> ContainerExecutor::image_opener(std::shared_ptr<const FunctionSpec> function) {
  if (!container::is_rootfs(*function)) return {};
  return [this, function] { return pool_.run([function] { return container::open_rootfs(*function); }); };
}

void ContainerExecutor::forget(const FunctionUid& function, std::uint64_t revision) {
  client_.forget(function, revision);
}

}  // namespace millrace
