#include "runtime/process/process_executor.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "core/ids.h"
#include "runtime/launched/function_environment.h"
#include "runtime/launched/host_check.h"
#include "runtime/launched/output_meter.h"
#include "runtime/launched/run_process.h"
#include "runtime/launched/script.h"
#include "runtime/process/scratch.h"

namespace millrace {

Result<std::unique_ptr<ProcessExecutor>> ProcessExecutor::open(EventLoop& loop, launched::LauncherClient& client,
                                                               BlockingPool& pool, Log& log, Options options) {
  std::unique_ptr<ProcessExecutor> executor(new ProcessExecutor(loop, client, pool, log, std::move(options)));
  for (const std::string& path : {executor->functions(), executor->scratch()}) {
    // What cannot be removed is in nobody's way: names in there are never used twice.
    if (auto swept = process::remove_tree(path); !swept) {
      executor->log_.warn("what an earlier life left stays", {{"directory", path}, {"error", swept.error()}});
    }
    if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
      return fail(error_from_errno(errno, "make the directory '" + path + "'"));
    }
  }
  return executor;
}

ProcessExecutor::ProcessExecutor(EventLoop& loop, launched::LauncherClient& client, BlockingPool& pool, Log& log,
                                 Options options)
    : loop_(loop), client_(client), pool_(pool), log_(log), options_(std::move(options)), tasks_(loop) {}

std::vector<Control> ProcessExecutor::controls() const {
  if (client_.hello() == nullptr) return {};
  return launched::controls_of(*client_.hello(), ExecutorKind::process);
}

Task<Result<std::vector<std::string>>> ProcessExecutor::check(std::shared_ptr<const FunctionSpec> function) {
  auto hello = co_await client_.wait_hello();
  if (!hello) co_return fail(hello.error());
  co_return launched::check_function(*function, {.hello = std::move(*hello)});
}

Task<Result<std::shared_ptr<ProcessExecutor::Installed>>> ProcessExecutor::install(
    std::shared_ptr<const FunctionSpec> function) {
  const Revision revision(function->uid, function->revision);
  if (const auto found = installed_.find(revision); found != installed_.end()) co_return found->second;
  const auto made = std::make_shared<Installed>();
  made->directory =
      functions() + "/" + function->uid.str() + "-" + std::to_string(function->revision) + "-" + random_hex(8);
  auto written = co_await pool_.run(
      [directory = made->directory, function] { return process::write_script(directory, function->script); });
  if (!written) co_return fail(written.error().with("install the script of function " + function->name));
  const auto [standing, first] = installed_.emplace(revision, made);
  if (!first) tasks_.spawn(remove(made->directory));  // two first runs at once
  co_return standing->second;
}

Task<Result<Execution>> ProcessExecutor::run(ExecutionRequest request, std::stop_token stop) {
  auto installed = co_await install(request.function);
  if (!installed) co_return fail(installed.error());
  const auto script = *installed;
  ++script->users;

  const std::string directory = scratch() + "/" + request.run_id.str() + "-" + random_hex(8);
  std::vector<process::ScratchInput> inputs;
  for (const InputFile& input : request.inputs) {
    inputs.push_back({.name = input.name, .host_path = input.host_path, .fd = input.fd.get()});
  }
  auto made = co_await pool_.run([directory, inputs] { return process::make_scratch(directory, inputs); });
  Result<Execution> execution = made ? Result<Execution>() : fail(made.error().with("prepare the run"));
  if (made) execution = co_await run_in(directory, script->directory + "/script.sh", std::move(request), stop);
  co_await remove(directory);
  --script->users;
  if (script->forgotten && script->users == 0) co_await remove(script->directory);
  co_return std::move(execution);
}

Task<Result<Execution>> ProcessExecutor::run_in(std::string directory, std::string script, ExecutionRequest request,
                                                std::stop_token stop) {
  const auto& function = request.function;
  auto use = co_await client_.use_template({.function = function, .kind = launcher::Kind::process}, stop);
  if (!use) co_return fail(use.error());

  launched::FunctionPaths paths{.script = std::move(script),
                                .home = directory,
                                .input_directory = directory + "/in",
                                .output_directory = request.output_path,
                                .inputs = {}};
  if (paths.output_directory.empty()) paths.output_directory = directory + "/out";
  for (const InputFile& input : request.inputs) paths.inputs.push_back(input.name);

  launched::RunPlan plan;
  plan.function = function;
  plan.spawn.working_directory = directory;
  plan.argv = launched::argv_of(function->script, paths.script);
  plan.environment = launched::function_environment(request.environment, paths);
  plan.input_bytes = std::move(request.input_bytes);
  plan.on_log = std::move(request.on_log);
  if (request.output_directory) {
    const auto outputs = std::make_shared<const Fd>(std::move(request.output_directory));  // kept by the thread's work
    plan.measure = [this, outputs, function] {
      return pool_.run([outputs, function] { return launched::measure_outputs(outputs->get(), function->limits); });
    };
  }
  auto execution = co_await launched::run_process(loop_, client_, *use, std::move(plan), stop);
  co_return std::move(execution);
}

Task<void> ProcessExecutor::remove(std::string directory) {
  const auto removed = co_await pool_.run([directory] { return process::remove_tree(directory); });
  if (!removed) log_.warn("a directory is left behind", {{"directory", directory}, {"error", removed.error()}});
}

void ProcessExecutor::forget(const FunctionUid& function, std::uint64_t revision) {
  client_.forget(function, revision);
  const auto node = installed_.extract({function, revision});
  if (node.empty()) return;
  if (node.mapped()->users > 0) {
    node.mapped()->forgotten = true;
  } else {
    tasks_.spawn(remove(node.mapped()->directory));
  }
}

}  // namespace millrace
