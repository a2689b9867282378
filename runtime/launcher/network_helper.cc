#include "runtime/launcher/network_helper.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <string>

#include "runtime/launcher/root_builder.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

constexpr int kReadyDescriptor = 3;
constexpr int kLifeDescriptor = 4;
constexpr int kAbove = 16;
constexpr int kLastCapability = 63;  // more than any kernel has

// Its libraries, and where the resolver's configuration lies or leads to.
constexpr std::array kShown{"usr",
                            "lib",
                            "lib32",
                            "lib64",
                            "libx32",
                            "etc",
                            "run/systemd/resolve",
                            "run/resolvconf",
                            "run/NetworkManager",
                            "run/connman"};
constexpr const char* kUserNamespaceFile = "user";
constexpr const char* kNetworkNamespaceFile = "net";

bool make_parents(const std::string& path) {
  for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    if (::mkdir(path.substr(0, slash).c_str(), 0755) < 0 && errno != EEXIST) return false;
  }
  return ::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST;
}

bool show(const char* name) {
  const std::string host = std::string("/") + name;
  struct stat status{};
  if (::lstat(host.c_str(), &status) < 0) return true;
  if (S_ISLNK(status.st_mode)) {
    std::array<char, PATH_MAX> target{};
    return ::readlink(host.c_str(), target.data(), target.size() - 1) > 0 && ::symlink(target.data(), name) == 0;
  }
  constexpr std::uint64_t kAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  if (!make_parents(name) || ::mount(host.c_str(), name, nullptr, MS_BIND | MS_REC, nullptr) < 0) return false;
  const Fd mount(::open(name, O_PATH | O_DIRECTORY | O_CLOEXEC));
  return mount && set_mount_attributes(mount.get(), kAttributes);
}

bool pin_namespace(int fd, const char* name) {
  const Fd file(::open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0444));
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  return file && ::mount(link.c_str(), name, nullptr, MS_BIND, nullptr) == 0;
}

bool make_device(const char* name, unsigned major, unsigned minor) {
  return ::mknod(name, S_IFCHR | 0666, makedev(major, minor)) == 0 && ::chmod(name, 0666) == 0;
}

// Only root of the host makes devices; others have what it lets them have.
bool give_devices(const NetworkHelperPlan& plan) {
  if (!make_parents("dev/net")) return false;
  if (!plan.one_id) {
    return make_device("dev/null", 1, 3) && make_device("dev/urandom", 1, 9) && make_device("dev/net/tun", 10, 200);
  }
  return std::ranges::all_of(std::array{"/dev/null", "/dev/urandom", "/dev/net/tun"}, [](const char* path) {
    return ::mknod(path + 1, S_IFREG | 0666, 0) == 0 && attach_host_device(path, path + 1);
  });
}

bool enter_own_root(const NetworkHelperPlan& plan) {
  if (::unshare(CLONE_NEWNS) < 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) return false;
  const Fd root = make_mount("tmpfs", {{"mode", "755"}, {"size", "64k"}, {"nr_inodes", "64"}}, MOUNT_ATTR_NOSUID);
  if (!root || !attach_mount(root.get(), AT_FDCWD, kBuildPoint) || ::chdir(kBuildPoint) < 0) return false;
  if (!std::ranges::all_of(kShown, show)) return false;
  if (!give_devices(plan)) return false;
  if (!pin_namespace(plan.user_namespace, kUserNamespaceFile) ||
      !pin_namespace(plan.network_namespace, kNetworkNamespaceFile)) {
    return false;
  }
  const Fd here(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!here || !set_mount_attributes(here.get(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID)) return false;
  return ::syscall(SYS_pivot_root, ".", ".") == 0 && ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0;
}

bool drop_rights(const NetworkHelperPlan& plan, pid_t parent) {
  for (int capability = 0; capability <= kLastCapability; ++capability) ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  if (!plan.one_id && (::setgroups(0, nullptr) < 0 || ::setresgid(plan.gid, plan.gid, plan.gid) < 0 ||
                       ::setresuid(plan.uid, plan.uid, plan.uid) < 0)) {
    return false;
  }
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  const std::array<__user_cap_data_struct, 2> none{};
  if (::syscall(SYS_capset, &header, none.data()) < 0 || ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return false;
  // After the change of user, which clears it.
  return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent;
}

bool arrange_descriptors(int ready, int life) {
  const int high_ready = ::fcntl(ready, F_DUPFD, kAbove);
  const int high_life = ::fcntl(life, F_DUPFD, kAbove);
  const int null = ::open("/dev/null", O_RDWR);
  if (high_ready < 0 || high_life < 0 || null < 0) return false;
  for (const int standard : {0, 1, 2}) {
    if (::dup2(null, standard) < 0) return false;
  }
  return ::dup2(high_ready, kReadyDescriptor) >= 0 && ::dup2(high_life, kLifeDescriptor) >= 0 &&
         ::close_range(kLifeDescriptor + 1, ~0U, 0) == 0;
}

[[noreturn]] void helper_main(const NetworkHelperPlan& plan, int ready, int life, pid_t parent) {
  ::setsid();
  be_killable_for_memory();
  if (!enter_own_root(plan) || !arrange_descriptors(ready, life)) ::_exit(126);
  const rlimit no_core{};
  ::setrlimit(RLIMIT_CORE, &no_core);
  if (!drop_rights(plan, parent)) ::_exit(126);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  const std::string mtu = "--mtu=" + std::to_string(kPrivateMtu);
  const std::string cidr = std::string("--cidr=") + kHelperNetwork;
  const std::string ready_fd = "--ready-fd=" + std::to_string(kReadyDescriptor);
  const std::string exit_fd = "--exit-fd=" + std::to_string(kLifeDescriptor);
  const std::string user = std::string("--userns-path=/") + kUserNamespaceFile;
  const std::string network = std::string("/") + kNetworkNamespaceFile;
  const std::array<const char*, 12> arguments{
      kNetworkHelper, "--disable-host-loopback", "--enable-seccomp", "--netns-type=path", user.c_str(), cidr.c_str(),
      mtu.c_str(),    ready_fd.c_str(),          exit_fd.c_str(),    network.c_str(),     kTapName,     nullptr};
  const std::array<const char*, 1> environment{nullptr};
  ::execve(kNetworkHelper, const_cast<char* const*>(arguments.data()), const_cast<char* const*>(environment.data()));
  ::_exit(127);
}

Result<std::pair<Fd, Fd>> make_pipe() {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return fail(error_from_errno(errno, "make a pipe"));
  return std::pair(Fd(ends[0]), Fd(ends[1]));
}

}  // namespace

Result<NetworkHelper> start_network_helper(const NetworkHelperPlan& plan) {
  auto ready = make_pipe();
  auto life = make_pipe();
  if (!ready) return fail(ready.error());
  if (!life) return fail(life.error());
  const pid_t parent = ::getpid();
  int pidfd = -1;
  clone_args arguments{};
  arguments.flags = CLONE_PIDFD;
  arguments.pidfd = reinterpret_cast<std::uintptr_t>(&pidfd);
  arguments.exit_signal = SIGCHLD;
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof(arguments));
  if (pid == 0) helper_main(plan, ready->second.get(), life->first.get(), parent);
  if (pid < 0) return fail(error_from_errno(errno, "start the program of private networks"));
  return NetworkHelper{.pid = static_cast<pid_t>(pid),
                       .process = Fd(pidfd),
                       .ready = std::move(ready->first),
                       .life = std::move(life->second)};
}

}  // namespace millrace::launcher
