#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <string_view>
#include <utility>

#include "runtime/launcher/cgroup_drivers.h"
#include "runtime/launcher/cgroup_mounts.h"
#include "runtime/launcher/cgroup_place.h"
#include "runtime/launcher/cgroup_pool.h"
#include "runtime/launcher/system.h"

// The v2 hierarchy alone. Processes are born into their group (CLONE_INTO_CGROUP): writing a pid to cgroup.procs waits
// for an RCU grace period, some 7 ms.
namespace millrace::launcher {
namespace {

constexpr std::size_t kControlFileBytesMax = 4096;
constexpr std::size_t kMemoryStatBytesMax = 16 * 1024;

bool write_open_file(const Fd& fd, std::string_view text) {
  return fd && ::pwrite(fd.get(), text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
}

ControlState real() {
  return {.support = Support::real, .reason = {}};
}
ControlState missing(std::string reason) {
  return {.support = Support::missing, .reason = std::move(reason)};
}

// What the kernel and whoever is above us let our groups have.
struct Controls {
  ControlState memory, cpu_weight, cpu_quota, pids;
};

class GroupV2 final : public Group {
 public:
  // `by_user`: write access to cgroup.procs for this user; none for -1.
  static Result<std::unique_ptr<GroupV2>> make(std::string path, const Controls& controls, std::int64_t by_user);

  [[nodiscard]] std::span<const int> tasks() const override { return {}; }
  [[nodiscard]] int born_into() const override { return directory_.get(); }
  // The kernel ends the whole group, so nobody needs to be told.
  [[nodiscard]] int memory_event() const override { return -1; }
  [[nodiscard]] bool started() override;
  [[nodiscard]] GroupUsage usage() const override;
  [[nodiscard]] bool populated() const override;
  void kill_all() override;
  [[nodiscard]] std::string place() const override { return path_; }
  void retire() override { killed_ = true; }

  Result<void> apply(const Limits& limits);
  [[nodiscard]] Fate reset();  // makes the group as good as new
  void remove();

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] const Fd& directory() const { return directory_; }
  // Whether the kernel forgets a peak when it is told so (Linux 6.12); else a group serves one run.
  [[nodiscard]] bool peak_can_be_reset() const { return peak_ && write_open_file(peak_, "0"); }

 private:
  [[nodiscard]] GroupUsage counters() const;
  [[nodiscard]] Result<void> write(const char* name, const std::string& value);
  [[nodiscard]] Fate give_back_cache();

  std::string path_;
  const Controls* controls_ = nullptr;
  Fd directory_, cpu_stat_, memory_events_, oom_group_, peak_;
  Limits applied_;
  bool fresh_ = true;    // nothing was applied yet
  bool killed_ = false;  // of no more use: whoever is born into it from now on dies
  GroupUsage base_;
};

Result<std::unique_ptr<GroupV2>> GroupV2::make(std::string path, const Controls& controls, std::int64_t by_user) {
  auto group = std::make_unique<GroupV2>();
  if (::mkdir(path.c_str(), 0755) < 0) return fail(error_from_errno(errno, "make the cgroup " + path));
  group->path_ = std::move(path);
  group->controls_ = &controls;
  group->directory_ = open_directory(AT_FDCWD, group->path_.c_str());
  const auto open_file = [&group](const char* name, int flags) {
    return Fd(::openat(group->directory_.get(), name, flags | O_CLOEXEC));
  };
  group->cpu_stat_ = open_file("cpu.stat", O_RDONLY);
  if (controls.memory.support == Support::real) {
    group->memory_events_ = open_file("memory.events", O_RDONLY);
    group->oom_group_ = open_file("memory.oom.group", O_WRONLY);
    // The reset is of the descriptor, not of the group. Older kernels do not let anybody write it.
    group->peak_ = open_file("memory.peak", O_RDWR);
    if (!group->peak_) group->peak_ = open_file("memory.peak", O_RDONLY);
  }
  const auto user = static_cast<uid_t>(by_user);
  if (by_user >= 0 && ::fchownat(group->directory_.get(), "cgroup.procs", user, user, 0) < 0) {
    auto error = error_from_errno(errno, "hand a cgroup to the templates");
    group->remove();
    return fail(std::move(error));
  }
  return group;
}

Result<void> GroupV2::write(const char* name, const std::string& value) {
  if (write_file(directory_.get(), name, value)) return {};
  return fail(error_from_errno(errno, "write " + value + " to " + path_ + "/" + name));
}

Result<void> GroupV2::apply(const Limits& limits) {
  const bool all = std::exchange(fresh_, false);
  const Limits had = std::exchange(applied_, limits);
  Result<void> done;
  const auto has = [](const ControlState& state) { return state.support == Support::real; };
  if (has(controls_->memory) && (all || had.memory_bytes != limits.memory_bytes)) {
    done = write("memory.max", limits.memory_bytes == 0 ? "max" : std::to_string(limits.memory_bytes));
    // Absent where the kernel knows no swap. Without a limit of memory swap is the host's matter, too.
    if (done) write_file(directory_.get(), "memory.swap.max", limits.memory_bytes == 0 ? "max" : "0");
  }
  if (done && has(controls_->pids) && (all || had.pids != limits.pids)) {
    done = write("pids.max", limits.pids == 0 ? "max" : std::to_string(limits.pids));
  }
  if (done && has(controls_->cpu_weight) && (all || had.cpu_weight_millicores != limits.cpu_weight_millicores)) {
    done = write("cpu.weight", std::to_string(cpu_weight_of(limits.cpu_weight_millicores)));
  }
  const auto quota = limits.cpu_quota_millicores;
  if (done && has(controls_->cpu_quota) && (all || quota != 0 || had.cpu_quota_millicores != 0)) {
    // Written at every hand-out, also unchanged: it clears what the run before overdrew, which would otherwise cost
    // this one up to 80 ms.
    done = write("cpu.max",
                 (quota == 0 ? "max" : std::to_string(cpu_quota_us_of(quota))) + " " + std::to_string(kCpuPeriodUs));
  }
  if (!done) fresh_ = true;
  return done;
}

bool GroupV2::started() {
  // Not before: until its exec the process shares the template's memory, and the kernel ends with a whole group also
  // everybody who shares memory with one of its members.
  write_open_file(oom_group_, "1");
  return usage().out_of_memory_kills == 0;
}

GroupUsage GroupV2::counters() const {
  std::array<char, kControlFileBytesMax> buffer{};
  GroupUsage now;
  const auto cpu = read_open_file(cpu_stat_, buffer);
  now.cpu_us = keyed_number(cpu, "usage_usec").value_or(0);
  now.throttled_us = keyed_number(cpu, "throttled_usec").value_or(0);
  now.out_of_memory_kills = keyed_number(read_open_file(memory_events_, buffer), "oom_kill").value_or(0);
  now.memory_peak_bytes = parse_number(read_open_file(peak_, buffer)).value_or(0);
  return now;
}

GroupUsage GroupV2::usage() const {
  GroupUsage now = counters();
  now.cpu_us -= std::min(now.cpu_us, base_.cpu_us);
  now.throttled_us -= std::min(now.throttled_us, base_.throttled_us);
  now.out_of_memory_kills -= std::min(now.out_of_memory_kills, base_.out_of_memory_kills);
  now.memory_peak_bytes -= std::min(now.memory_peak_bytes, base_.memory_peak_bytes);
  return now;
}

bool GroupV2::populated() const {
  return read_keyed_number(directory_.get(), "cgroup.events", "populated").value_or(0) != 0;
}

void GroupV2::kill_all() {
  killed_ = true;
  if (!write_file(directory_.get(), "cgroup.kill", "1")) kill_members(directory_.get());
}

// The kernel keeps the memory of a removed group as long as a single page is charged to it, and where groups serve one
// run these would be as many as runs. So a little cache goes first. Only what can go at once is asked for: with
// anything else the kernel would try for seconds. With much cache the kernel keeps one group for many pages, and they
// stay.
Fate GroupV2::give_back_cache() {
  const auto stat = read_file(directory_.get(), "memory.stat", kMemoryStatBytesMax);
  const auto of = [&stat](std::string_view key) { return stat ? keyed_number(*stat, key).value_or(0) : 0; };
  const std::uint64_t cached = of("file");
  if (cached == 0 || cached > kResidueBytesMax || of("file_mapped") != 0) return Fate::remove;
  if (of("file_dirty") != 0 || of("file_writeback") != 0) return Fate::later;
  write_file(directory_.get(), "memory.reclaim", std::to_string(cached));
  return Fate::remove;
}

Fate GroupV2::reset() {
  if (killed_ || populated()) return Fate::remove;
  std::uint64_t residue = 0;
  if (memory_events_) {
    if (!peak_can_be_reset()) return give_back_cache();
    const auto used = read_number(directory_.get(), "memory.current");
    if (!used || !write_open_file(oom_group_, "0")) return Fate::remove;
    residue = *used;
  }
  base_ = counters();
  base_.memory_peak_bytes = residue;
  return residue <= kResidueBytesMax ? Fate::reuse : Fate::remove;
}

void GroupV2::remove() {
  sweep_group(path_, kSweepPatienceMs);
}

class DriverV2 final : public GroupDriver {
 public:
  DriverV2(std::string place, const std::string& prefix, std::uint32_t template_uid)
      : place_(std::move(place)),
        prefix_(place_ + "/" + prefix),
        template_user_(::geteuid() == 0 ? std::int64_t{template_uid} : -1) {}
  ~DriverV2() override { remove_all(); }
  DriverV2(const DriverV2&) = delete;
  DriverV2& operator=(const DriverV2&) = delete;

  Result<void> open();

  [[nodiscard]] ControlState state(Control control) const override;
  [[nodiscard]] int templates_group() const override { return templates_.get(); }
  [[nodiscard]] Result<std::unique_ptr<Group>> acquire(const Limits& limits) override { return pool_.acquire(limits); }
  void release(std::unique_ptr<Group> group) override { pool_.release(std::move(group)); }
  bool tidy() override { return pool_.tidy(); }
  void remove_all() override;

 private:
  [[nodiscard]] Result<std::unique_ptr<GroupV2>> make() {
    return GroupV2::make(prefix_ + "/run-" + std::to_string(made_++), controls_, template_user_);
  }
  [[nodiscard]] ControlState enable(std::string_view controller) const;
  [[nodiscard]] Result<void> open_templates();
  [[nodiscard]] Result<void> try_out();
  void try_files(const GroupV2& group);

  std::string place_;
  std::string prefix_;
  std::int64_t template_user_;  // -1: without root templates are our own user's, who owns all this
  std::uint64_t made_ = 0;
  Controls controls_;
  Fd templates_;
  GroupPool<GroupV2> pool_{[this] { return make(); }};
};

ControlState DriverV2::enable(std::string_view controller) const {
  const std::string wanted = "+" + std::string(controller);
  for (const std::string& path : {place_, prefix_}) {
    const Fd directory = open_directory(AT_FDCWD, path.c_str());
    const auto offered = read_file(directory.get(), "cgroup.controllers").value_or("");
    const std::string padded = " " + offered.substr(0, offered.find('\n')) + " ";
    if (padded.find(" " + std::string(controller) + " ") == std::string::npos) {
      return missing("the cgroup controller " + std::string(controller) + " is not available in " + path +
                     ": the kernel was started without it, or the groups above do not hand it down");
    }
    if (!write_file(directory.get(), "cgroup.subtree_control", wanted)) {
      return missing(explain("enable the cgroup controller " + std::string(controller) + " below " + path, errno));
    }
  }
  return real();
}

Result<void> DriverV2::open_templates() {
  // Being born into a group asks for write access to the files of that group and of the nearest common ancestor with
  // one's own: so templates live below the prefix, too.
  const std::string templates = prefix_ + "/templates";
  if (::mkdir(templates.c_str(), 0755) < 0) return fail(error_from_errno(errno, "make the cgroup " + templates));
  templates_ = open_directory(AT_FDCWD, templates.c_str());
  if (template_user_ < 0) return {};
  const auto user = static_cast<uid_t>(template_user_);
  if (::chown((prefix_ + "/cgroup.procs").c_str(), user, user) < 0) {
    return fail(error_from_errno(errno, "hand the cgroup to the templates"));
  }
  return {};
}

// A kernel may have a controller without one of its files.
void DriverV2::try_files(const GroupV2& group) {
  struct File {
    ControlState& control;
    const char* name;
    std::string value;
  };
  const std::array<File, 4> files{File{controls_.memory, "memory.max", std::to_string(kResidueBytesMax)},
                                  File{controls_.pids, "pids.max", "8"}, File{controls_.cpu_weight, "cpu.weight", "50"},
                                  File{controls_.cpu_quota, "cpu.max", "1000 " + std::to_string(kCpuPeriodUs)}};
  for (const File& file : files) {
    if (file.control.support != Support::real) continue;
    if (!write_file(group.directory().get(), file.name, file.value)) {
      file.control = missing(explain(std::string("write to ") + group.path() + "/" + file.name, errno));
    }
  }
}

// One process is born into a group, killed with it, and gone.
Result<void> DriverV2::try_out() {
  auto made = make();
  if (!made) return fail(made.error());
  GroupV2& group = **made;
  try_files(group);
  clone_args arguments{};
  arguments.flags = CLONE_INTO_CGROUP;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<std::uint64_t>(group.born_into());
  const long child = ::syscall(SYS_clone3, &arguments, sizeof(arguments));
  if (child == 0) {
    for (;;) ::pause();
  }
  const int refused = child < 0 ? errno : 0;
  const bool inside = child > 0 && group.populated();
  if (child > 0) {
    group.kill_all();
    if (!inside) ::kill(static_cast<pid_t>(child), SIGKILL);
    ::waitpid(static_cast<pid_t>(child), nullptr, 0);
  }
  group.remove();
  if (refused != 0) return fail(error_from_errno(refused, "start a process in the cgroup " + group.path()));
  if (!inside) return fail(Errc::unavailable, "a process started in the cgroup " + group.path() + " is not in it");
  return {};
}

Result<void> DriverV2::open() {
  sweep_group(prefix_, kSweepPatienceMs);
  if (::mkdir(prefix_.c_str(), 0755) < 0) return fail(error_from_errno(errno, "make the cgroup " + prefix_));
  controls_.memory = enable("memory");
  controls_.pids = enable("pids");
  controls_.cpu_weight = controls_.cpu_quota = enable("cpu");
  if (auto opened = open_templates(); !opened) return opened;
  if (auto tried = try_out(); !tried) return tried;
  auto first = make();
  if (!first) return fail(first.error());
  // Removed are those that cgroup.kill was used on and, with a kernel that cannot forget a peak, all.
  pool_.replace_used(true);
  pool_.add(std::move(*first));
  return {};
}

ControlState DriverV2::state(Control control) const {
  switch (control) {
    case Control::memory: return controls_.memory;
    case Control::cpu_weight: return controls_.cpu_weight;
    case Control::cpu_quota: return controls_.cpu_quota;
    case Control::pids: return controls_.pids;
    case Control::kill_group: return real();
    default: return missing("not a control of groups");
  }
}

void DriverV2::remove_all() {
  pool_.clear();
  templates_.reset();
  sweep_group(prefix_, kSweepPatienceMs);
}

}  // namespace

Result<std::unique_ptr<GroupDriver>> make_driver_v2(const CgroupMounts& mounts, const std::string& prefix,
                                                    std::uint32_t template_uid) {
  auto place = take_place(mounts);
  if (!place) return fail(place.error());
  auto driver = std::make_unique<DriverV2>(std::move(*place), prefix, template_uid);
  if (auto opened = driver->open(); !opened) return fail(opened.error());
  return driver;
}

}  // namespace millrace::launcher
