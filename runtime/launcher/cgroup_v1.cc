#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "runtime/launcher/cgroup_drivers.h"
#include "runtime/launcher/cgroup_mounts.h"
#include "runtime/launcher/cgroup_pool.h"
#include "runtime/launcher/system.h"

// v1 controllers, with the v2 hierarchy of a hybrid host beside them for being born into a group and for `populated`.
// cgroup.kill is never used: a group that was killed so kills every later process born into it, and groups are pooled.

namespace millrace::launcher {
namespace {

struct Hierarchies {
  std::string cpu, cpuacct, memory, pids, v2;  // directories of the prefix; empty: absent

  [[nodiscard]] std::vector<std::string> all() const {
    return CgroupMounts{.cpu = cpu, .cpuacct = cpuacct, .memory = memory, .pids = pids, .v2 = v2, .v2_root = {}}
        .hierarchies();
  }
};

constexpr std::size_t kControlFileBytesMax = 1024;

std::string number(std::uint64_t value) {
  return std::to_string(value);
}

class GroupV1 final : public Group {
 public:
  // Errors are of the first step that failed; what was made before it is removed by remove().
  static Result<std::unique_ptr<GroupV1>> make(const Hierarchies& where, std::uint64_t index,
                                               std::uint32_t template_uid);

  [[nodiscard]] std::span<const int> tasks() const override { return tasks_; }
  [[nodiscard]] int born_into() const override { return v2_.get(); }
  [[nodiscard]] int memory_event() const override { return event_.get(); }
  [[nodiscard]] bool started() override { return true; }
  [[nodiscard]] GroupUsage usage() const override;
  [[nodiscard]] bool populated() const override;
  void kill_all() override;
  [[nodiscard]] std::string place() const override { return paths_.empty() ? std::string() : paths_.front(); }
  void retire() override { retired_ = true; }

  Result<void> apply(const Limits& limits);
  [[nodiscard]] Fate reset();  // makes the group as good as new
  void remove();

 private:
  Result<void> open_files(const Hierarchies& where, std::uint32_t template_uid);
  void watch_memory();
  [[nodiscard]] GroupUsage counters() const;
  [[nodiscard]] Result<void> write(const Fd& directory, const char* name, const std::string& value);
  [[nodiscard]] Result<void> apply_memory(std::uint64_t bytes);

  std::vector<std::string> paths_;
  Fd cpu_, cpuacct_, memory_, pids_, v2_;
  Fd cpu_used_, cpu_stat_, memory_used_, memory_peak_, oom_control_, events_;  // read for every run
  std::vector<Fd> task_files_;
  std::vector<int> tasks_;
  Fd event_;
  Limits applied_;
  bool fresh_ = true;  // nothing was applied yet
  bool retired_ = false;
  GroupUsage base_;
};

Result<std::unique_ptr<GroupV1>> GroupV1::make(const Hierarchies& where, std::uint64_t index,
                                               std::uint32_t template_uid) {
  auto group = std::make_unique<GroupV1>();
  const std::string name = "/run-" + number(index);
  for (const std::string& hierarchy : where.all()) {
    const std::string path = hierarchy + name;
    if (::mkdir(path.c_str(), 0755) < 0) {
      auto error = error_from_errno(errno, "make the cgroup " + path);
      group->remove();
      return fail(std::move(error));
    }
    group->paths_.push_back(path);
    if (hierarchy == where.cpu) group->cpu_ = open_directory(AT_FDCWD, path.c_str());
    if (hierarchy == where.cpuacct) group->cpuacct_ = open_directory(AT_FDCWD, path.c_str());
    if (hierarchy == where.memory) group->memory_ = open_directory(AT_FDCWD, path.c_str());
    if (hierarchy == where.pids) group->pids_ = open_directory(AT_FDCWD, path.c_str());
    if (hierarchy == where.v2) group->v2_ = open_directory(AT_FDCWD, path.c_str());
  }
  if (auto opened = group->open_files(where, template_uid); !opened) {
    group->remove();
    return fail(opened.error());
  }
  return group;
}

Result<void> GroupV1::open_files(const Hierarchies& where, std::uint32_t template_uid) {
  for (const std::string& path : paths_) {
    if (!where.v2.empty() && path.starts_with(where.v2 + "/")) continue;
    Fd tasks(::open((path + "/tasks").c_str(), O_WRONLY | O_CLOEXEC));
    if (!tasks) return fail(error_from_errno(errno, "open " + path + "/tasks"));
    tasks_.push_back(tasks.get());
    task_files_.push_back(std::move(tasks));
  }
  if (v2_ && ::fchownat(v2_.get(), "cgroup.procs", template_uid, template_uid, 0) < 0) {
    return fail(error_from_errno(errno, "hand a cgroup to the templates"));
  }
  const auto open_file = [](const Fd& directory, const char* name, int flags = O_RDONLY) {
    return directory ? Fd(::openat(directory.get(), name, flags | O_CLOEXEC)) : Fd();
  };
  cpu_used_ = cpuacct_ ? open_file(cpuacct_, "cpuacct.usage") : open_file(v2_, "cpu.stat");
  cpu_stat_ = open_file(cpu_, "cpu.stat");
  events_ = open_file(v2_, "cgroup.events");
  memory_used_ = open_file(memory_, "memory.usage_in_bytes");
  memory_peak_ = open_file(memory_, "memory.max_usage_in_bytes", O_RDWR);
  oom_control_ = open_file(memory_, "memory.oom_control");
  if (memory_) {
    write_file(memory_.get(), "memory.swappiness", "0");
    watch_memory();
  }
  return {};
}

void GroupV1::watch_memory() {
  Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  const Fd control(::openat(memory_.get(), "memory.oom_control", O_RDONLY | O_CLOEXEC));
  if (!event || !control) return;
  const std::string line = std::to_string(event.get()) + " " + std::to_string(control.get());
  if (write_file(memory_.get(), "cgroup.event_control", line)) event_ = std::move(event);
}

GroupUsage GroupV1::counters() const {
  GroupUsage now;
  std::array<char, kControlFileBytesMax> buffer{};
  if (cpuacct_) {
    now.cpu_us = parse_number(read_open_file(cpu_used_, buffer)).value_or(0) / 1000;
  } else {
    now.cpu_us = keyed_number(read_open_file(cpu_used_, buffer), "usage_usec").value_or(0);
  }
  now.throttled_us = keyed_number(read_open_file(cpu_stat_, buffer), "throttled_time").value_or(0) / 1000;
  now.memory_peak_bytes = parse_number(read_open_file(memory_peak_, buffer)).value_or(0);
  now.out_of_memory_kills = keyed_number(read_open_file(oom_control_, buffer), "oom_kill").value_or(0);
  return now;
}

GroupUsage GroupV1::usage() const {
  GroupUsage now = counters();
  now.cpu_us -= std::min(now.cpu_us, base_.cpu_us);
  now.throttled_us -= std::min(now.throttled_us, base_.throttled_us);
  now.out_of_memory_kills -= std::min(now.out_of_memory_kills, base_.out_of_memory_kills);
  now.memory_peak_bytes -= std::min(now.memory_peak_bytes, base_.memory_peak_bytes);
  return now;
}

bool GroupV1::populated() const {
  if (v2_) {
    std::array<char, kControlFileBytesMax> buffer{};
    return keyed_number(read_open_file(events_, buffer), "populated").value_or(0) != 0;
  }
  const Fd& any = pids_ ? pids_ : memory_ ? memory_ : cpu_;
  const auto members = read_file(any.get(), "cgroup.procs");
  return members && !members->empty();
}

void GroupV1::kill_all() {
  if (pids_) write_file(pids_.get(), "pids.max", "0");
  applied_.pids = 0;
  fresh_ = true;
  kill_members(v2_ ? v2_.get() : pids_ ? pids_.get() : memory_ ? memory_.get() : cpu_.get());
}

Result<void> GroupV1::write(const Fd& directory, const char* name, const std::string& value) {
  if (write_file(directory.get(), name, value)) return {};
  return fail(error_from_errno(errno, "write " + value + " to " + name));
}

Result<void> GroupV1::apply_memory(std::uint64_t bytes) {
  const std::string value = bytes == 0 ? "-1" : number(bytes);
  // Memory and swap together may never be below memory alone, so their limit is opened before and set after. Hosts
  // without swap accounting have no such file; swappiness 0 is what holds there.
  write_file(memory_.get(), "memory.memsw.limit_in_bytes", "-1");
  auto set = write(memory_, "memory.limit_in_bytes", value);
  if (set && bytes != 0) write_file(memory_.get(), "memory.memsw.limit_in_bytes", value);
  return set;
}

Result<void> GroupV1::apply(const Limits& limits) {
  const bool all = std::exchange(fresh_, false);
  const Limits had = std::exchange(applied_, limits);
  Result<void> done;
  if (memory_ && (all || had.memory_bytes != limits.memory_bytes)) done = apply_memory(limits.memory_bytes);
  if (done && pids_ && (all || had.pids != limits.pids)) {
    done = write(pids_, "pids.max", limits.pids == 0 ? "max" : number(limits.pids));
  }
  if (done && cpu_ && (all || had.cpu_weight_millicores != limits.cpu_weight_millicores)) {
    done = write(cpu_, "cpu.shares", number(cpu_shares_of(limits.cpu_weight_millicores)));
  }
  if (done && cpu_ && (all || limits.cpu_quota_millicores != 0 || had.cpu_quota_millicores != 0)) {
    // Written at every hand-out, also unchanged: it clears what the run before overdrew, which would otherwise cost
    // this one up to 80 ms.
    const auto quota = limits.cpu_quota_millicores;
    done = write(cpu_, "cpu.cfs_quota_us", quota == 0 ? "-1" : number(cpu_quota_us_of(quota)));
  }
  if (!done) fresh_ = true;
  return done;
}

Fate GroupV1::reset() {
  if (retired_ || populated()) return Fate::remove;
  if (event_) {
    std::uint64_t count = 0;
    // Non-blocking: without an event there is nothing to clear.
    [[maybe_unused]] const auto got = ::read(event_.get(), &count, sizeof(count));
  }
  std::uint64_t residue = 0;
  if (memory_) {
    std::array<char, kControlFileBytesMax> buffer{};
    const auto used = parse_number(read_open_file(memory_used_, buffer));
    if (!used || ::pwrite(memory_peak_.get(), "0", 1, 0) != 1) return Fate::remove;
    residue = *used;
  }
  base_ = counters();
  base_.memory_peak_bytes = residue;
  return residue <= kResidueBytesMax ? Fate::reuse : Fate::remove;
}

void GroupV1::remove() {
  event_.reset();
  for (Fd* open : {&cpu_used_, &cpu_stat_, &memory_used_, &memory_peak_, &oom_control_, &events_}) open->reset();
  for (const std::string& path : paths_) sweep_group(path, kSweepPatienceMs);
  paths_.clear();
}

class DriverV1 final : public GroupDriver {
 public:
  DriverV1(Hierarchies where, std::uint32_t template_uid, bool one_kill_suffices)
      : where_(std::move(where)), template_uid_(template_uid), sure_kill_(one_kill_suffices) {}
  ~DriverV1() override { remove_all(); }
  DriverV1(const DriverV1&) = delete;
  DriverV1& operator=(const DriverV1&) = delete;

  Result<void> open();

  [[nodiscard]] ControlState state(Control control) const override;
  [[nodiscard]] int templates_group() const override { return templates_.get(); }
  [[nodiscard]] Result<std::unique_ptr<Group>> acquire(const Limits& limits) override { return pool_.acquire(limits); }
  void release(std::unique_ptr<Group> group) override { pool_.release(std::move(group)); }
  bool tidy() override { return pool_.tidy(); }
  void remove_all() override;

 private:
  [[nodiscard]] Result<std::unique_ptr<GroupV1>> make() { return GroupV1::make(where_, made_++, template_uid_); }

  Hierarchies where_;
  std::uint32_t template_uid_;
  bool sure_kill_;
  std::uint64_t made_ = 0;
  Fd templates_;
  GroupPool<GroupV1> pool_{[this] { return make(); }};
};

Result<void> DriverV1::open() {
  for (const std::string& path : where_.all()) {
    sweep_group(path, kSweepPatienceMs);
    if (::mkdir(path.c_str(), 0755) < 0 && errno != EEXIST) {
      return fail(error_from_errno(errno, "make the cgroup " + path));
    }
  }
  if (!where_.v2.empty()) {
    // Being born into a group asks for write access to the files of that group and of the nearest common ancestor with
    // one's own: so templates live below the prefix, too.
    const std::string templates = where_.v2 + "/templates";
    if (::mkdir(templates.c_str(), 0755) < 0 && errno != EEXIST) {
      return fail(error_from_errno(errno, "make the cgroup " + templates));
    }
    templates_ = open_directory(AT_FDCWD, templates.c_str());
    if (::chown((where_.v2 + "/cgroup.procs").c_str(), template_uid_, template_uid_) < 0) {
      return fail(error_from_errno(errno, "hand the cgroup to the templates"));
    }
  }
  auto first = make();
  if (!first) return fail(first.error());
  pool_.add(std::move(*first));
  return {};
}

ControlState DriverV1::state(Control control) const {
  const auto present = [](const std::string& path, const char* what) {
    if (!path.empty()) return ControlState{.support = Support::real, .reason = {}};
    return ControlState{.support = Support::missing,
                        .reason = std::string("the cgroup v1 controller ") + what + " is not mounted"};
  };
  switch (control) {
    case Control::memory: return present(where_.memory, "memory");
    case Control::cpu_weight:
    case Control::cpu_quota: return present(where_.cpu, "cpu");
    case Control::pids: return present(where_.pids, "pids");
    case Control::kill_group:
      if (sure_kill_) return {.support = Support::real, .reason = {}};
      return {.support = Support::emulated, .reason = "without the pids controller a group is killed again and again"};
    default: return {.support = Support::missing, .reason = "not a control of groups"};
  }
}

void DriverV1::remove_all() {
  pool_.clear();
  templates_.reset();
  for (const std::string& path : where_.all()) sweep_group(path, kSweepPatienceMs);
}

}  // namespace

Result<std::unique_ptr<GroupDriver>> make_driver_v1(const CgroupMounts& mounts, const std::string& prefix,
                                                    std::uint32_t template_uid) {
  if (::geteuid() != 0) {
    return fail(Errc::permission_denied,
                "this host has version 1 of control groups, which only root can use; start the server as root");
  }
  const auto below = [&prefix](const std::string& mount) { return mount.empty() ? mount : mount + "/" + prefix; };
  Hierarchies where{.cpu = below(mounts.cpu),
                    .cpuacct = below(mounts.cpuacct),
                    .memory = below(mounts.memory),
                    .pids = below(mounts.pids),
                    .v2 = below(mounts.v2)};
  const bool sure_kill = !where.pids.empty();
  auto driver = std::make_unique<DriverV1>(std::move(where), template_uid, sure_kill);
  if (auto opened = driver->open(); !opened) return fail(opened.error());
  return driver;
}

}  // namespace millrace::launcher
