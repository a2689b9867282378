#include "tests/integration/launcher/launcher_rig.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "runtime/launcher/provided.h"
#include "runtime/launcher/spare_sandbox.h"

namespace millrace::launcher {
namespace {

constexpr int kHangGuardMs = 60'000;

std::pair<Fd, Fd> socket_pair() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

std::pair<Fd, Fd> pipe_pair() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

bool readable(int fd, int timeout_ms) {
  pollfd waiting{.fd = fd, .events = POLLIN, .revents = 0};
  int ready = ::poll(&waiting, 1, timeout_ms);
  while (ready < 0 && errno == EINTR) ready = ::poll(&waiting, 1, timeout_ms);  // children end
  return ready > 0;
}

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  EXPECT_NE(value, nullptr) << name << " is set by ctest";
  return value == nullptr ? "" : value;
}

// As the worst parent leaves them: every signal ignored and blocked, those the C library keeps for itself included.
// For the first rig of a process: what others mount meanwhile is not counted.
void enter_own_mounts() {
  if (::geteuid() != 0) return;
  EXPECT_EQ(::unshare(CLONE_NEWNS), 0) << std::strerror(errno);
  EXPECT_EQ(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0) << std::strerror(errno);
}

void spoil_signals() {
  const std::array<std::uint64_t, 4> ignored{reinterpret_cast<std::uintptr_t>(SIG_IGN), 0, 0, 0};
  for (int signal = 1; signal < NSIG; ++signal) ::syscall(SYS_rt_sigaction, signal, ignored.data(), nullptr, 8);
  const std::uint64_t all = ~std::uint64_t{0};
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, nullptr, sizeof(all));
}

}  // namespace

LauncherRig::LauncherRig(As as, std::vector<std::string> more_arguments)
    : as_(as), more_arguments_(std::move(more_arguments)) {
  static int count = 0;
  if (count == 0) enter_own_mounts();
  prefix_ = "millrace-test-" + std::to_string(::getpid()) + "-" + std::to_string(++count);
  launch();
}

LauncherRig::~LauncherRig() {
  life_line_.reset();
  daemon_.reset();
  if (pid_ > 0) await_launcher_end();
}

void LauncherRig::launch() {
  auto [ours, theirs] = socket_pair();
  auto [life, their_life] = socket_pair();
  const std::string program = from_environment("MILLRACE_LAUNCHER");
  const std::string uid = std::to_string(as_ == As::root ? kDaemonUid : ::geteuid() == 0 ? kDaemonUid : ::geteuid());
  const std::string prefix = "--prefix=" + prefix_;
  const std::string uid_option = "--daemon-uid=" + uid;
  const std::string gid_option = "--daemon-gid=" + uid;
  std::vector<const char*> argv{program.c_str(), prefix.c_str(), uid_option.c_str(), gid_option.c_str()};
  for (const std::string& argument : more_arguments_) argv.push_back(argument.c_str());
  argv.push_back(nullptr);
  const Fd executable(::open(program.c_str(), O_RDONLY));
  pid_ = ::fork();
  if (pid_ == 0) {
    const int high_daemon = ::fcntl(theirs.get(), F_DUPFD, 20);
    const int high_life = ::fcntl(their_life.get(), F_DUPFD, 20);
    const int high_program = ::fcntl(executable.get(), F_DUPFD, 20);
    ::dup2(high_daemon, 3);
    ::dup2(high_life, 4);
    ::dup2(high_program, 5);
    ::close_range(6, ~0U, 0);
    if (as_ == As::user && ::geteuid() == 0) {
      if (::setgid(kDaemonUid) != 0 || ::setuid(kDaemonUid) != 0) ::_exit(98);
    }
    ::fcntl(5, F_SETFD, FD_CLOEXEC);
    spoil_signals();
    ::fexecve(5, const_cast<char* const*>(argv.data()), environ);
    ::_exit(99);
  }
  daemon_ = std::move(ours);
  life_line_ = std::move(life);
  EXPECT_TRUE(readable(life_line_.get(), kHangGuardMs)) << std::strerror(errno);
  Datagram ready;
  EXPECT_EQ(receive(life_line_.get(), ready), Transfer::done);
  EXPECT_EQ(ready.bytes, std::string(1, kLifeLineReady));
  hello_ = await<Hello>();
}

bool LauncherRig::read_one() {
  if (!daemon_ || !readable(daemon_.get(), kHangGuardMs)) {
    ADD_FAILURE() << "the launcher does not answer";
    return false;
  }
  Datagram got;
  const Transfer transfer = receive(daemon_.get(), got);
  if (transfer != Transfer::done) {
    ADD_FAILURE() << "the launcher's socket ended";
    return false;
  }
  auto answer = decode_answer(got.bytes);
  if (!answer) {
    ADD_FAILURE() << answer.error().message;
    return false;
  }
  EXPECT_TRUE(got.descriptors.empty());
  kept_.push_back(std::move(*answer));
  return true;
}

void LauncherRig::send(const Request& request, const std::vector<int>& descriptors) {
  if (const auto* prepare = std::get_if<Prepare>(&request); prepare != nullptr && prepare->kind == Kind::container) {
    containers_.insert(prepare->template_id);
  }
  const auto bytes = encode(request);
  ASSERT_TRUE(bytes) << bytes.error().message;
  Transfer sent = Transfer::would_block;
  while (sent == Transfer::would_block) {
    sent = launcher::send(daemon_.get(), *bytes, descriptors);
    if (sent == Transfer::would_block) {
      pollfd room{.fd = daemon_.get(), .events = POLLOUT, .revents = 0};
      ASSERT_GT(::poll(&room, 1, kHangGuardMs), 0);
    }
  }
  ASSERT_EQ(sent, Transfer::done);
}

Prepared LauncherRig::prepare(std::uint32_t id, Kind kind, Network network, const std::string& script) {
  send_prepare({.template_id = id, .kind = kind, .network = network}, -1, {}, script);
  return await_prepared();
}

Prepared LauncherRig::prepare(const Prepare& request, int image, const std::vector<ProvidedFile>& provided,
                              const std::string& script) {
  send_prepare(request, image, provided, script);
  return await_prepared();
}

PrepareFailed LauncherRig::refuse_to_prepare(const Prepare& request, int image,
                                             const std::vector<ProvidedFile>& provided) {
  send_prepare(request, image, provided, {});
  return await<PrepareFailed>();
}

void LauncherRig::send_prepare(Prepare request, int image, const std::vector<ProvidedFile>& provided,
                               const std::string& script) {
  std::vector<int> descriptors;
  Fd script_file;
  Fd provided_file;
  request.script = !script.empty();
  request.provided = !provided.empty();
  if (request.script) {
    auto made = sealed_memfd(script);
    script_file = std::move(*made);
    descriptors.push_back(script_file.get());
  }
  if (image >= 0) descriptors.push_back(image);
  if (request.provided) {
    const auto packed = pack_provided(provided);
    ASSERT_TRUE(packed) << packed.error().message;
    auto made = sealed_memfd(*packed);
    provided_file = std::move(*made);
    descriptors.push_back(provided_file.get());
  }
  send(request, descriptors);
}

bool LauncherRig::await_built(std::uint32_t id) {
  for (;;) {
    for (auto at = kept_.begin(); at != kept_.end(); ++at) {
      const auto* prepared = std::get_if<Prepared>(&*at);
      const auto* failed = std::get_if<PrepareFailed>(&*at);
      const bool built = prepared != nullptr && prepared->template_id == id;
      if (!built && (failed == nullptr || failed->template_id != id)) continue;
      kept_.erase(at);
      return built;
    }
    if (!read_one()) return false;
  }
}

Prepared LauncherRig::await_prepared() {
  for (;;) {
    for (const Answer& answer : kept_) {
      if (std::holds_alternative<Prepared>(answer)) return await<Prepared>();
      if (const auto* failed = std::get_if<PrepareFailed>(&answer)) {
        ADD_FAILURE() << "prepare: " << name_of(failed->step) << " " << failed->error << " " << failed->text;
        return {};
      }
    }
    if (!read_one()) return {};
  }
}

bool LauncherRig::may_have_spare(const RunSpec& spec) const {
  Spawn request{.limits = spec.limits};
  for (const auto& [input, fd] : spec.inputs) request.inputs.push_back(input);
  return containers_.contains(spec.template_id) && may_use_spare(request);
}

pid_t LauncherRig::make_spare(const RunSpec& spec) {
  const auto sandboxes = [this] {
    std::set<pid_t> all;
    for (const pid_t of_template : direct_children(pid_)) all.merge(direct_children(of_template));
    return all;
  };
  const auto before = sandboxes();
  const auto result = finish(spawn({.template_id = spec.template_id, .argv = {"/nothing"}, .limits = spec.limits}));
  if (result.started || result.failed.step != Step::exec) return -1;  // the run itself will say why
  pid_t made = -1;
  EXPECT_TRUE(comes_true([&] {
    for (const pid_t each : sandboxes()) {
      if (!before.contains(each)) made = each;
    }
    return made > 0;
  })) << "no spare sandbox";
  return made;
}

std::uint64_t LauncherRig::start(const RunSpec& spec) {
  static const bool kInSpares = std::getenv("MILLRACE_TEST_SPARES") != nullptr;
  if (kInSpares && may_have_spare(spec)) make_spare(spec);
  return spawn(spec);
}

std::uint64_t LauncherRig::spawn(const RunSpec& spec) {
  const std::uint64_t id = next_run_++;
  Spawn request;
  request.run = id;
  request.template_id = spec.template_id;
  request.limits = spec.limits;
  request.hostname = spec.hostname;
  request.working_directory = spec.working_directory;
  auto packed = pack_program(spec.argv, spec.environment);
  EXPECT_TRUE(packed) << packed.error().message;
  auto [input_read, input_write] = pipe_pair();
  auto [output_read, output_write] = pipe_pair();
  auto [errors_read, errors_write] = pipe_pair();
  EXPECT_EQ(::write(input_write.get(), spec.standard_input.data(), spec.standard_input.size()),
            static_cast<ssize_t>(spec.standard_input.size()));
  input_write.reset();
  std::vector<int> descriptors{input_read.get(), output_write.get(), errors_write.get()};
  Fd program;
  if (packed->size() <= kProgramInlineBytesMax) {
    request.program = *packed;
  } else {
    auto made = sealed_memfd(*packed);
    EXPECT_TRUE(made);
    program = std::move(*made);
    descriptors.push_back(program.get());
  }
  if (spec.output >= 0) {
    request.output = true;
    descriptors.push_back(spec.output);
  }
  for (const auto& [input, fd] : spec.inputs) {
    request.inputs.push_back(input);
    descriptors.push_back(fd);
  }
  send(request, descriptors);
  pipes_[id] = Pipes{.output = std::move(output_read), .errors = std::move(errors_read), .result = {}};
  return id;
}

// Reads what is there on both pipes; false when both ended.
bool LauncherRig::drain(Pipes& pipes, std::chrono::milliseconds wait) {
  std::array<pollfd, 2> waiting{pollfd{.fd = pipes.output.get(), .events = POLLIN, .revents = 0},
                                pollfd{.fd = pipes.errors.get(), .events = POLLIN, .revents = 0}};
  if (!pipes.output && !pipes.errors) return false;
  ::poll(waiting.data(), waiting.size(), static_cast<int>(wait.count()));
  const auto read_from = [](Fd& fd, const pollfd& state, std::string& into) {
    if (state.revents == 0) return;
    std::array<char, 65536> buffer{};
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    if (got > 0) into.append(buffer.data(), static_cast<std::size_t>(got));
    if (got <= 0) fd.reset();
  };
  read_from(pipes.output, waiting[0], pipes.result.output);
  read_from(pipes.errors, waiting[1], pipes.result.errors);
  return true;
}

// Nothing of the run lives any more, so nothing holds its pipes open.
void LauncherRig::drain_to_end(Pipes& pipes) {
  for (int rounds = 0; drain(pipes, std::chrono::milliseconds(1000)); ++rounds) {
    if (rounds < 100) continue;
    ADD_FAILURE() << "somebody still holds the run's output after its end";
    return;
  }
}

void LauncherRig::await_end_of_output(std::uint64_t run) {
  auto node = pipes_.extract(run);
  drain_to_end(node.mapped());
}

void LauncherRig::await_output(std::uint64_t run, const std::string& text) {
  Pipes& pipes = pipes_.at(run);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kHangGuardMs);
  while (pipes.result.output.find(text) == std::string::npos) {
    if (!drain(pipes, std::chrono::milliseconds(1000)) || std::chrono::steady_clock::now() > deadline) {
      FAIL() << "the run did not print '" << text << "' but: " << pipes.result.output << pipes.result.errors;
    }
  }
}

RunResult LauncherRig::finish(std::uint64_t run) {
  auto node = pipes_.extract(run);
  Pipes& pipes = node.mapped();
  RunResult& result = pipes.result;
  bool ended = false;
  while (!ended) {
    for (auto at = kept_.begin(); at != kept_.end();) {
      if (const auto* started = std::get_if<Started>(&*at); started != nullptr && started->run == run) {
        result.started = true;
        at = kept_.erase(at);
      } else if (const auto* failed = std::get_if<SpawnFailed>(&*at); failed != nullptr && failed->run == run) {
        result.failed = *failed;
        ended = true;
        at = kept_.erase(at);
      } else if (const auto* exited = std::get_if<Exited>(&*at); exited != nullptr && exited->run == run) {
        result.exited = *exited;
        ended = true;
        at = kept_.erase(at);
      } else {
        ++at;
      }
    }
    if (ended) break;
    // Its output must be read meanwhile, else it may wait for us for ever.
    if (readable(daemon_.get(), 1) && !read_one()) break;
    drain(pipes, std::chrono::milliseconds(1));
  }
  drain_to_end(pipes);
  return result;
}

void LauncherRig::expect_socket_end() {
  Datagram got;
  Transfer transfer = Transfer::done;
  while (transfer == Transfer::done && readable(daemon_.get(), kHangGuardMs)) transfer = receive(daemon_.get(), got);
  EXPECT_EQ(transfer, Transfer::closed);
}

void LauncherRig::hand_over_new_daemon() {
  auto [ours, theirs] = socket_pair();
  const std::array<int, 1> descriptors{theirs.get()};
  ASSERT_EQ(launcher::send(life_line_.get(), std::string_view(&kLifeLineNewDaemon, 1), descriptors), Transfer::done);
  daemon_ = std::move(ours);
  kept_.clear();
  theirs.reset();
  hello_ = await<Hello>();
}

void LauncherRig::kill_launcher() {
  ::kill(pid_, SIGKILL);
  await_launcher_end();
}

int LauncherRig::await_launcher_end() {
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return status;
}

void LauncherRig::restart() {
  kept_.clear();
  launch();
}

std::string probe_path() {
  // A copy: the daemon's user may not be let into the folder where it was built.
  static const TestDirectory kFolder;
  static const Fd kCopy = kFolder.file("probe", read_text(from_environment("MILLRACE_LAUNCHER_PROBE")), 0755);
  EXPECT_TRUE(kCopy);
  return kFolder.path() + "/probe";
}

}  // namespace millrace::launcher
