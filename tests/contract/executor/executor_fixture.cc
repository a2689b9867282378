#include "tests/contract/executor/executor_fixture.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "async/sleep.h"
#include "core/ids.h"
#include "runtime/container/container_executor.h"
#include "runtime/process/process_executor.h"
#include "tests/support/oci_runtime.h"
#include "tests/support/run_task.h"

namespace millrace::test {
namespace {

Task<Result<Execution>> watched(EventLoop& loop, Executor& executor, ExecutionRequest what, std::string started,
                                std::function<void()> action, std::stop_token stop) {
  struct Watcher {
    static Task<void> wait(EventLoop& on, std::string path, std::function<void()> then) {
      while (::access(path.c_str(), F_OK) != 0) co_await sleep_for(on, std::chrono::milliseconds(2));
      then();
    }
  };
  TaskGroup group(loop);
  group.spawn(Watcher::wait(loop, std::move(started), std::move(action)));
  auto execution = co_await executor.run(std::move(what), stop);
  co_await group.join();
  co_return std::move(execution);
}

}  // namespace

void ExecutorContract::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: the launcher makes cgroups and namespaces";
  ::signal(SIGPIPE, SIG_IGN);
  directory_.emplace();
  ASSERT_EQ(::chown(directory_->path().c_str(), kDaemonUid, kDaemonUid), 0);
  if (GetParam().kind == ExecutorKind::oci && runtime_flags().empty()) {
    GTEST_SKIP() << GetParam().runtime << " is not installed";
  }
  start_launcher();
  ASSERT_EQ(::setgroups(0, nullptr), 0);
  ASSERT_EQ(::setegid(kDaemonUid), 0);
  ASSERT_EQ(::seteuid(kDaemonUid), 0);

  log_.emplace(Log::Options{.level = LogLevel::error});
  loop_.emplace();
  pool_.emplace(*loop_, BlockingPool::Options{.threads = 2});
  client_.emplace(*loop_, *log_, launched::LauncherClient::Options{.connect_wait = std::chrono::milliseconds(300)});
  client_->connect(launcher_->take_socket());
  if (is_container()) {
    executor_ = std::make_unique<ContainerExecutor>(*loop_, *client_, *pool_,
                                                    ContainerExecutor::Options{.kind = GetParam().kind});
  } else {
    auto opened = ProcessExecutor::open(*loop_, *client_, *pool_, *log_, {.data = directory_->path()});
    ASSERT_TRUE(opened) << opened.error().message;
    executor_ = std::move(*opened);
  }
}

std::vector<std::string> ExecutorContract::runtime_flags() const {
  if (GetParam().kind != ExecutorKind::oci) return {};
  const std::string flag = oci_runtime_flag(std::string(GetParam().runtime));
  return flag.empty() ? std::vector<std::string>() : std::vector{flag};
}

void ExecutorContract::TearDown() {
  if (!loop_) return;
  executor_.reset();
  client_.reset();
  pool_.reset();
  loop_.reset();
  ASSERT_EQ(::seteuid(0), 0);
  ASSERT_EQ(::setegid(0), 0);
  if (launcher_) EXPECT_EQ(launcher_->stop(), 0);
  launcher_.reset();
}

void ExecutorContract::start_launcher() {
  launcher_.reset();
  launcher_.emplace("mrtest-" + std::to_string(::getpid()), kDaemonUid, runtime_flags());
  if (client_) client_->connect(launcher_->take_socket());
}

bool ExecutorContract::has(launcher::Control control) {
  const auto hello = run_task(*loop_, client_->wait_hello());
  return hello && hello->of(control).support == launcher::Support::real;
}

FunctionSpec ExecutorContract::spec(std::string script) {
  FunctionSpec function;
  function.name = "sample";
  function.uid = FunctionUid("01HZZZZZZZZZZZZZZZZZZZZZZZ");
  function.revision = ++made_;
  function.executor = GetParam().kind;
  function.oci_runtime = GetParam().runtime;
  function.script = std::move(script);
  function.timeout = std::chrono::seconds(60);
  return function;
}

ExecutionRequest ExecutorContract::request(FunctionSpec function, const std::vector<Input>& inputs) {
  ExecutionRequest made;
  made.run_id = RunId(random_hex(16));
  made.function = std::make_shared<const FunctionSpec>(std::move(function));
  const std::string base = *directory_ / made.run_id.str();
  outputs_ = base + "-out";
  ::mkdir(outputs_.c_str(), 0700);
  made.output_path = outputs_;
  made.output_directory = Fd(::open(outputs_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ::mkdir((base + "-in").c_str(), 0700);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::string path = base + "-in/stored " + std::to_string(i);  // not the name that the function sees
    std::ofstream(path) << inputs[i].content;
    ::chmod(path.c_str(), 0600);
    made.inputs.push_back(
        {.name = inputs[i].name, .fd = Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC)), .host_path = path});
  }
  return made;
}

Result<Execution> ExecutorContract::run(ExecutionRequest what, std::stop_token stop) {
  return run_task(*loop_, executor_->run(std::move(what), stop));
}

Result<Execution> ExecutorContract::run_and_meanwhile(ExecutionRequest what, std::function<void()> action,
                                                      std::stop_token stop) {
  const std::string started = what.output_path + "/started";
  return run_task(*loop_, watched(*loop_, *executor_, std::move(what), started, std::move(action), stop));
}

std::string describe(const Result<Execution>& execution) {
  if (!execution) return std::string(name_of(execution.error().code)) + ": " + execution.error().message;
  return std::string(name_of(execution->outcome)) + ": " + execution->message + "\n" + execution->log_tail;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace millrace::test
