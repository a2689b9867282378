#include "runtime/launcher/oci_keeper.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <expected>
#include <optional>
#include <string_view>
#include <utility>

#include "runtime/launcher/cgroup.h"
#include "runtime/launcher/channel.h"
#include "runtime/launcher/container_support.h"
#include "runtime/launcher/directory_image.h"
#include "runtime/launcher/host_image.h"
#include "runtime/launcher/json_text.h"
#include "runtime/launcher/oci_config.h"
#include "runtime/launcher/program_check.h"
#include "runtime/launcher/provided.h"
#include "runtime/launcher/run.h"
#include "runtime/launcher/spawn.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

// A directory that every host has and that no runtime looks at; what it holds is covered in this process only.
constexpr const char* kStage = "/sys/bus";
constexpr const char* kRootPoint = "/sys/bus/root";
constexpr std::size_t kLogBytesMax = 16 * 1024;
constexpr std::size_t kLastWordsMax = 600;  // of the runtime's log
constexpr std::size_t kCopyBytes = 1024 * 1024;
constexpr std::size_t kOwnBytes = 16 * 1024 * 1024;
constexpr std::uint32_t kIdsInside = 65'535;

using Made = std::expected<void, ImageError>;

std::unexpected<ImageError> failed(Step step, int error, std::string what = {}) {
  return std::unexpected(ImageError{.step = step, .error = error, .what = std::move(what)});
}

std::vector<std::string_view> split_options(std::string_view text) {
  std::vector<std::string_view> options;
  while (!text.empty()) {
    const auto end = std::min(text.find(','), text.size());
    options.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return options;
}

class Keeper {
 public:
  explicit Keeper(OciKeeperPlan plan) : plan_(std::move(plan)) {}

  [[noreturn]] void run() {
    if (auto made = make(); !made) {
      const ImageError& why = made.error();
      remove();
      say(SpawnFailed{
          .run = plan_.request.run, .step = why.step, .error = why.error, .text = why.what.substr(0, kTextBytesMax)});
      ::_exit(1);
    }
    say(Started{.run = plan_.request.run}, process_.get());
    while (!ended()) {
    }
    ::_exit(remove() ? 0 : 1);
  }

 private:
  Made make();
  void settle();
  Made leave_mounts();
  Made build_root();
  Made place_files();
  Made copy_inputs(int directory);
  Made write_config();
  Made create();
  [[nodiscard]] OciConfig config();
  [[nodiscard]] std::vector<OciIdRange> ids(std::uint32_t run_id) const;
  [[nodiscard]] bool as_root() const { return runs_as_root(plan_.prepare); }
  [[nodiscard]] bool whole_group() const { return plan_.control_group.empty(); }
  [[nodiscard]] bool ended();
  bool remove();
  [[nodiscard]] bool command(const std::vector<std::string>& arguments);
  [[nodiscard]] int run_program(const std::vector<std::string>& arguments, const std::array<int, 3>& stdio,
                                bool creating);
  [[nodiscard]] pid_t fork_into(bool tasks, bool group);
  [[nodiscard]] std::string last_words() const;
  void say(const Answer& answer, int descriptor = -1);

  OciKeeperPlan plan_;
  std::optional<SpawnPlan> spawn_;
  struct AttachedInput {
    std::string target;  // in the container
    std::string source;  // in the stage
  };
  std::vector<AttachedInput> inputs_;
  std::vector<ProvidedFile> provided_;
  Fd image_;
  Fd root_;
  std::string id_;
  Fd process_;
  pid_t pid_ = -1;
  bool created_ = false;
};

// ---- the bundle

Made Keeper::make() {
  settle();
  id_ = plan_.options.prefix + "-" + std::to_string(plan_.request.run);
  auto spawn = SpawnPlan::make(plan_.request, std::move(plan_.descriptors));
  if (!spawn) return failed(spawn.error().step, spawn.error().error);
  spawn_.emplace(std::move(*spawn));
  spawn_->point();
  const ChildPlan& child = spawn_->child();
  if (const int error = check_sizes(child.argv, child.environment); error != 0) return failed(Step::exec, error);
  if (auto left = leave_mounts(); !left) return left;
  if (auto built = build_root(); !built) return built;
  if (const int error = check_program(root_.get(), child.candidates); error != 0) return failed(Step::exec, error);
  if (auto placed = place_files(); !placed) return placed;
  if (auto written = write_config(); !written) return written;
  return create();
}

void Keeper::settle() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NAME, "millrace-oci");
  ::setsid();
  // Nothing of the launcher's goes further than this.
  std::vector<int> kept{0, 1, 2, plan_.socket.get(), plan_.born_into};
  for (const Fd& fd : plan_.descriptors) kept.push_back(fd.get());
  for (const Fd* fd : {&plan_.resources.user_namespace, &plan_.resources.image, &plan_.resources.provided}) {
    kept.push_back(fd->get());
  }
  kept.insert(kept.end(), plan_.tasks.begin(), plan_.tasks.end());
  std::ranges::sort(kept);
  int next = 0;
  for (const int fd : kept) {
    if (fd > next) ::close_range(static_cast<unsigned>(next), static_cast<unsigned>(fd - 1), 0);
    next = std::max(next, fd + 1);
  }
  ::close_range(static_cast<unsigned>(next), ~0U, 0);
}

Made Keeper::leave_mounts() {
  if (plan_.prepare.provided) {
    auto packed = read_sealed_memfd(plan_.resources.provided.get(), kProvidedBytesMax);
    auto files = packed ? unpack_provided(*packed) : Result<std::vector<ProvidedFile>>(fail(packed.error()));
    if (!files) return failed(Step::provided, EINVAL, files.error().message);
    provided_ = std::move(*files);
  }
  if (plan_.prepare.image != Image::host) {
    auto mounted = mount_image(plan_.resources.image.get(), plan_.resources.user_namespace.get());
    if (!mounted) return std::unexpected(mounted.error());
    image_ = std::move(*mounted);
  }
  if (::unshare(CLONE_NEWNS) < 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0 ||
      // Of our own pid namespace: the runtime looks at itself there.
      ::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0) {
    return failed(Step::root_file_system, errno, "make a mount namespace");
  }
  // A runtime that is told to leave groups alone still looks at them, and some give up at the sight of both versions.
  if (whole_group() && plan_.hybrid && ::mount("none", "/sys/fs/cgroup", "cgroup2", MS_RDONLY, nullptr) < 0) {
    return failed(Step::cgroup, errno, "cover the control groups");
  }
  const std::string size = std::to_string(kOwnBytes);
  const Fd stage = make_mount("tmpfs", {{"mode", "755"}, {"size", size.c_str()}, {"nr_inodes", "4096"}},
                              MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
  if (!stage || !attach_mount(stage.get(), AT_FDCWD, kStage) || ::chdir(kStage) < 0) {
    return failed(Step::root_file_system, errno, "make a place for the bundle");
  }
  for (const char* name : {"root", "state", "in", "inputs", "out", "dev"}) {
    if (::mkdir(name, 0755) < 0) return failed(Step::root_file_system, errno, "make a place for the bundle");
  }
  const Fd devices = make_devices();
  if (!devices || !attach_mount(devices.get(), AT_FDCWD, "dev")) {
    return failed(Step::root_file_system, errno, "make /dev");
  }
  return {};
}

Made Keeper::build_root() {
  const ImagePlan image{.options = plan_.options,
                        .request = plan_.prepare,
                        .script_bytes = plan_.resources.script_bytes,
                        .provided = provided_,
                        .run_id = plan_.resources.run_id,
                        .root_id = root_host_id(plan_.resources.slot),
                        .build_point = kRootPoint,
                        .bundle = true,
                        .upper_options = spawn_->child().upper_options};
  auto built = plan_.prepare.image == Image::host ? enter_host_image(image) : enter_directory_image(image, image_);
  if (!built) {
    built.error().what = explain(built.error().what, built.error().error);
    return built;
  }
  // The builders leave us in the root.
  root_ = Fd(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root_ || ::chdir(kStage) < 0) return failed(Step::root_file_system, errno, "enter the bundle");
  return {};
}

// One directory holds a place for each input, and what is copied; it appears in the container read-only. The other
// inputs are put over their places by the runtime, one by one: not all runtimes take along what is mounted below.
Made Keeper::place_files() {
  const ChildPlan& child = spawn_->child();
  if (child.output >= 0 && !attach_mount(child.output, AT_FDCWD, "out")) return failed(Step::output, errno);
  if (::mount("tmpfs", "in", "tmpfs", MS_NOSUID | MS_NODEV, child.upper_options) < 0) {
    return failed(Step::mount_scratch, errno);
  }
  const Fd directory(::open("in", O_PATH | O_DIRECTORY | O_CLOEXEC));
  bool copies = false;
  for (const ChildInput& input : child.inputs) {
    const Fd point(::openat(directory.get(), input.name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!point) return failed(Step::input, errno);
    copies = copies || input.mode == InputMode::copy;
    if (input.mode == InputMode::copy) continue;
    inputs_.push_back({.target = std::string(kInputDirectory) + "/" + input.name,
                       .source = "inputs/" + std::to_string(inputs_.size())});
    const std::string& source = inputs_.back().source;
    const Fd place(::open(source.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0444));
    if (!place || !attach_mount(input.fd, AT_FDCWD, source.c_str())) return failed(Step::input, errno);
    if (!is_utf8(input.name))
      return failed(Step::request, EILSEQ, "an input's name is no UTF-8, which OCI runtimes want");
  }
  return copies ? copy_inputs(directory.get()) : Made();
}

// In a process of the run's group, for what it writes counts as the run's memory.
Made Keeper::copy_inputs(int directory) {
  const pid_t copier = fork_into(true, true);
  if (copier < 0) return failed(Step::input, errno);
  if (copier == 0) {
    for (const ChildInput& input : spawn_->child().inputs) {
      if (input.mode != InputMode::copy) continue;
      const Fd to(::openat(directory, input.name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
      off_t offset = 0;
      ssize_t copied = to ? 1 : -1;
      while (copied > 0) copied = ::sendfile(to.get(), input.fd, &offset, kCopyBytes);
      if (copied < 0) ::_exit(errno);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(copier, &status, 0);
  if (!WIFEXITED(status)) return failed(Step::input, ENOMEM);
  return WEXITSTATUS(status) == 0 ? Made() : failed(Step::input, WEXITSTATUS(status));
}

std::vector<OciIdRange> Keeper::ids(std::uint32_t run_id) const {
  const std::uint32_t base = root_host_id(plan_.resources.slot);
  if (as_root()) {
    return {{.inside = 0, .outside = run_id, .count = 1}, {.inside = 1, .outside = base + 1, .count = kIdsInside - 1}};
  }
  return {{.inside = 0, .outside = base, .count = kRunUid},
          {.inside = kRunUid, .outside = run_id, .count = 1},
          {.inside = kRunUid + 1, .outside = base + kRunUid + 1, .count = kIdsInside - kRunUid - 1}};
}

OciConfig Keeper::config() {
  const ChildPlan& child = spawn_->child();
  const bool own = plan_.resources.files == FileAccess::idmapped;
  OciConfig config;
  config.arguments = child.argv;
  config.environment = child.environment;
  config.root = plan_.prepare.image == Image::host ? "root" : "root/root";
  config.working_directory = child.working_directory;
  config.hostname = std::string_view(child.hostname, child.hostname_size);
  config.user = as_root() ? 0 : kRunUid;
  config.compat = plan_.prepare.profile == Profile::compat;
  config.network = plan_.prepare.network;
  config.root_read_only = plan_.prepare.image != Image::directory_copy;
  config.users = ids(plan_.resources.run_id);
  config.groups = ids(own ? plan_.resources.run_id : plan_.options.daemon_gid);
  const auto scratch = [&child](std::initializer_list<std::string_view> flags) {
    auto options = split_options(child.scratch_options);
    options.insert(options.end(), flags);
    return options;
  };
  config.mounts = {
      {.target = "/proc", .type = "proc", .source = "proc", .options = {"nosuid", "nodev", "noexec"}},
      // Ours, read-only: runtimes make more, and let the root of the namespace write there.
      {.target = "/dev",
       .type = "bind",
       .source = std::string(kStage) + "/dev",
       .options = {"bind", "ro", "nosuid", "noexec"}},
      {.target = "/dev/shm", .type = "tmpfs", .source = "tmpfs", .options = scratch({"nosuid", "nodev", "noexec"})},
      {.target = "/tmp", .type = "tmpfs", .source = "tmpfs", .options = scratch({"nosuid", "nodev"})},
      {.target = kInputDirectory,
       .type = "bind",
       .source = std::string(kStage) + "/in",
       .options = {"bind", "ro", "nosuid", "nodev"}}};
  for (const AttachedInput& input : inputs_) {
    config.mounts.push_back({.target = input.target,
                             .type = "bind",
                             .source = std::string(kStage) + "/" + input.source,
                             .options = {"bind", "ro", "nosuid", "nodev"}});
  }
  if (child.output >= 0) {
    config.mounts.push_back({.target = kOutputDirectory,
                             .type = "bind",
                             .source = std::string(kStage) + "/out",
                             .options = {"bind", "rw", "nosuid", "nodev"}});
  } else {
    config.mounts.push_back(
        {.target = kOutputDirectory, .type = "tmpfs", .source = "tmpfs", .options = scratch({"nosuid", "nodev"})});
  }
  for (const ChildLimit& limit : child.limits) {
    const std::string_view name = limit.resource == RLIMIT_NOFILE  ? "RLIMIT_NOFILE"
                                  : limit.resource == RLIMIT_FSIZE ? "RLIMIT_FSIZE"
                                                                   : "RLIMIT_CORE";
    config.limits.push_back({.name = name, .value = limit.value.rlim_cur});
  }
  config.control_group = plan_.control_group;
  config.memory_bytes = plan_.held.memory_bytes;
  config.pids = plan_.held.pids;
  const auto quota = plan_.held.cpu_quota_millicores;
  config.cpu_quota_us = quota == 0 ? 0 : cpu_quota_us_of(quota);
  return config;
}

Made Keeper::write_config() {
  auto json = oci_config(config());
  if (!json) return failed(Step::request, EILSEQ, json.error().message);
  const Fd file(::open("config.json", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  if (!file || ::write(file.get(), json->data(), json->size()) != static_cast<ssize_t>(json->size())) {
    return failed(Step::root_file_system, errno, "write the bundle's configuration");
  }
  return {};
}

// ---- the runtime

// In what of the run's groups the child begins.
pid_t Keeper::fork_into(bool tasks, bool group) {
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  if (group && plan_.born_into >= 0) {
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.cgroup = static_cast<std::uint64_t>(plan_.born_into);
  }
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof(arguments));
  if (pid == 0 && tasks) {
    for (const int file : plan_.tasks) {
      if (::write(file, "0", 1) != 1) ::_exit(EIO);
    }
  }
  return static_cast<pid_t>(pid);
}

int Keeper::run_program(const std::vector<std::string>& arguments, const std::array<int, 3>& stdio, bool creating) {
  std::vector<std::string> command = plan_.runtime.command;
  const std::string stage = kStage;
  for (const std::string& option : {std::string("--root"), stage + "/state", std::string("--log"), stage + "/log"}) {
    command.push_back(option);
  }
  command.insert(command.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  for (std::string& text : command) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  const std::string path = "PATH=" + std::string(kPathDefault);
  const std::array<const char*, 3> environment{path.c_str(), "HOME=/", nullptr};

  // A runtime that keeps the limits moves the container into the group itself, and should not be counted with it; but
  // of a v2 hierarchy beside v1 runtimes know nothing.
  const pid_t pid = fork_into(creating && whole_group(), creating && (whole_group() || plan_.hybrid));
  if (pid == 0) {
    for (int target = 0; target < 3; ++target) ::dup2(stdio.at(static_cast<std::size_t>(target)), target);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::execve(pointers.front(), pointers.data(), const_cast<char* const*>(environment.data()));
    ::_exit(127);
  }
  int status = -1;
  if (pid > 0) ::waitpid(pid, &status, 0);
  return status;
}

bool Keeper::command(const std::vector<std::string>& arguments) {
  const Fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const int null = nothing.get();
  return run_program(arguments, {null, null, null}, false) == 0;
}

std::string Keeper::last_words() const {
  std::string text = read_file(AT_FDCWD, "log", kLogBytesMax).value_or("");
  while (!text.empty() && text.back() == '\n') text.pop_back();
  if (text.size() > kLastWordsMax) text.erase(0, text.size() - kLastWordsMax);
  return plan_.runtime.name + ": " + (text.empty() ? "it gave no reason" : text);
}

Made Keeper::create() {
  created_ = true;
  const std::string stage = kStage;
  const int status =
      run_program({"create", "--bundle", stage, "--pid-file", stage + "/pid", id_}, spawn_->child().stdio, true);
  if (status != 0) return failed(Step::runtime, EIO, last_words());
  const auto pid = read_number(AT_FDCWD, "pid");
  pid_ = static_cast<pid_t>(pid.value_or(0));
  if (pid_ > 1) process_ = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
  if (!process_)
    return failed(Step::runtime, ESRCH, plan_.runtime.name + ": its container's process is not to be found");
  if (!command({"start", id_})) return failed(Step::runtime, EIO, last_words());
  return {};
}

bool Keeper::remove() {
  return !created_ || command({"delete", "--force", id_});
}

// Waits once; true when the container has ended and the launcher has looked at its figures.
bool Keeper::ended() {
  std::array<pollfd, 2> waiting{pollfd{.fd = plan_.socket.get(), .events = POLLIN, .revents = 0},
                                pollfd{.fd = process_.get(), .events = POLLIN, .revents = 0}};
  ::poll(waiting.data(), waiting.size(), -1);
  if (waiting[0].revents != 0) {
    Datagram got;
    const Transfer transfer = receive(plan_.socket.get(), got);
    if (transfer == Transfer::would_block) return false;
    const auto request = transfer == Transfer::done ? decode_request(got.bytes) : fail(Errc::unavailable, "closed");
    // Also when the launcher is gone: our end is the end of the container.
    if (!request) ::_exit(2);
    if (std::holds_alternative<Drop>(*request)) return true;
    if (std::holds_alternative<Kill>(*request)) static_cast<void>(command({"kill", id_, "TERM"}));
  }
  if (waiting[1].revents != 0) {
    process_.reset();
    int status = 0;
    rusage used{};
    // An orphan of the runtime's, it became our child.
    const bool known = ::wait4(pid_, &status, 0, &used) == pid_;
    Exited report{.run = plan_.request.run, .how = Ending::lost, .usage = usage_of(used)};
    if (known) report.how = WIFEXITED(status) ? Ending::code : Ending::signal;
    if (known) report.value = static_cast<std::uint32_t>(WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    say(report);
  }
  return false;
}

void Keeper::say(const Answer& answer, int descriptor) {
  const auto bytes = encode(answer);
  if (!bytes) ::_exit(3);
  const std::span<const int> descriptors(&descriptor, descriptor >= 0 ? 1 : 0);
  if (send(plan_.socket.get(), *bytes, descriptors) != Transfer::done) ::_exit(4);
}

}  // namespace

void oci_keeper_main(OciKeeperPlan plan) {
  Keeper keeper(std::move(plan));
  keeper.run();
}

}  // namespace millrace::launcher
