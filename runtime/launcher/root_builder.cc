#include "runtime/launcher/root_builder.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "runtime/launcher/private_network.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

constexpr int kPlace = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

struct DeviceNode {
  const char* name;
  unsigned major, minor;
};
constexpr std::array kDeviceNodes{DeviceNode{"null", 1, 3},   DeviceNode{"zero", 1, 5},    DeviceNode{"full", 1, 7},
                                  DeviceNode{"random", 1, 8}, DeviceNode{"urandom", 1, 9}, DeviceNode{"tty", 5, 0}};

bool write_new(int directory, const std::string& name, std::string_view bytes, mode_t mode) {
  // A directory stays, as EISDIR.
  if (::unlinkat(directory, name.c_str(), 0) < 0 && errno != ENOENT) return false;
  const Fd file(::openat(directory, name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, mode));
  return file && ::write(file.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()) &&
         ::fchmod(file.get(), mode) == 0;
}

}  // namespace

bool write_below(int directory, std::string_view path, std::string_view bytes, mode_t mode) {
  Fd place;
  int parent = directory;
  for (auto slash = path.find('/'); slash != std::string_view::npos; slash = path.find('/')) {
    const std::string name(path.substr(0, slash));
    path.remove_prefix(slash + 1);
    if (name.empty()) continue;
    if (::mkdirat(parent, name.c_str(), 0755) < 0 && errno != EEXIST) return false;
    Fd next(::openat(parent, name.c_str(), kPlace));
    if (!next) return false;
    place = std::move(next);
    parent = place.get();
  }
  return write_new(parent, std::string(path), bytes, mode);
}

bool RootBuilder::at(std::string what) {
  what_ = std::move(what);
  return true;
}

bool RootBuilder::at(Step step, std::string what) {
  step_ = step;
  return at(std::move(what));
}

std::unexpected<ImageError> RootBuilder::error() const {
  return std::unexpected(ImageError{.step = step_, .error = errno, .what = what_});
}

bool RootBuilder::make_directory(const std::string& path) {
  at("make the directory /" + path);
  return ::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST;
}

bool RootBuilder::place_script(int directory) {
  if (!plan_.request.script) return true;
  at(Step::script, "write the script");
  if (!write_below(directory, kScriptPath.substr(1), plan_.script_bytes, 0555)) return false;
  return at(Step::root_file_system, {});
}

Fd make_devices(bool nodes) {
  Fd devices = make_mount("tmpfs", {{"mode", "755"}, {"size", "64k"}, {"nr_inodes", "32"}},
                          MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  if (!devices) return {};
  const mode_t mask = ::umask(0);
  const mode_t kind = nodes ? S_IFCHR : S_IFREG;
  bool made = std::ranges::all_of(kDeviceNodes, [&devices, kind](const DeviceNode& node) {
    return ::mknodat(devices.get(), node.name, kind | 0666, makedev(node.major, node.minor)) == 0;
  });
  // An OCI runtime may give what it mounts there the mode of what it covers.
  made = made && ::mkdirat(devices.get(), "shm", 01777) == 0;
  ::umask(mask);
  using Link = std::pair<const char*, const char*>;
  static constexpr std::array kLinks{Link{"/proc/self/fd", "fd"}, Link{"/proc/self/fd/0", "stdin"},
                                     Link{"/proc/self/fd/1", "stdout"}, Link{"/proc/self/fd/2", "stderr"}};
  made = made && std::ranges::all_of(kLinks, [&devices](const Link& link) {
           return ::symlinkat(link.first, devices.get(), link.second) == 0;
         });
  made = made && set_mount_attributes(devices.get(), MOUNT_ATTR_RDONLY);
  return made ? std::move(devices) : Fd();
}

bool attach_host_device(const char* path, const char* target) {
  const Fd device(::open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!device) return false;
  const Fd mount = clone_mount(device.get());
  constexpr std::uint64_t kAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  return mount && set_mount_attributes(mount.get(), kAttributes) && attach_mount(mount.get(), AT_FDCWD, target);
}

bool RootBuilder::at_file(const ProvidedFile& file, std::string_view part) {
  return at(Step::provided, "place the file " + file.path + (part.empty() ? "" : ", at " + std::string(part)));
}

bool RootBuilder::give(int directory, const std::string& path, std::uint32_t id) const {
  return plan_.one_id || ::fchownat(directory, path.c_str(), id, id, AT_SYMLINK_NOFOLLOW) == 0;
}

bool RootBuilder::attach_devices() {
  at("make /dev");
  const Fd devices = make_devices(!plan_.one_id);
  if (!devices || !attach_mount(devices.get(), AT_FDCWD, "dev")) return false;
  return !plan_.one_id || std::ranges::all_of(kDeviceNodes, [this](const DeviceNode& node) {
    const std::string path = std::string("dev/") + node.name;
    at("show the device /" + path);
    return attach_host_device(("/" + path).c_str(), path.c_str());
  });
}

std::string RootBuilder::resolv_conf(std::string of_host) const {
  switch (plan_.request.network) {
    case Network::host: return of_host;
    case Network::outbound: return private_resolv_conf(of_host);
    case Network::none: return {};
  }
  return {};
}

std::string RootBuilder::hosts(std::string of_host) const {
  return plan_.request.network == Network::host ? std::move(of_host) : std::string(kLoopbackHosts);
}

bool RootBuilder::has_secrets() const {
  return std::ranges::any_of(plan_.provided, &ProvidedFile::secret);
}

std::size_t RootBuilder::provided_bytes() const {
  std::size_t bytes = 0;
  for (const ProvidedFile& file : plan_.provided) bytes += file.content.size();
  return bytes;
}

bool RootBuilder::attach_secrets(const char* target) {
  if (!has_secrets()) return true;
  at(Step::provided, "write the secrets");
  // Never written to a swap device where the kernel can promise that (6.4 and later).
  constexpr unsigned kAttributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
  Fd secrets =
      make_mount("tmpfs", {{"mode", "755"}, {"size", "8m"}, {"nr_inodes", "256"}, {"noswap", nullptr}}, kAttributes);
  if (!secrets) {
    secrets = make_mount("tmpfs", {{"mode", "755"}, {"size", "8m"}, {"nr_inodes", "256"}}, kAttributes);
  }
  if (!secrets) return false;
  for (const ProvidedFile& file : plan_.provided) {
    if (!file.secret) continue;
    if (!write_new(secrets.get(), file.path, file.content, 0400)) return false;
    if (!give(secrets.get(), file.path, plan_.run_id)) return false;
  }
  if (!set_mount_attributes(secrets.get(), MOUNT_ATTR_RDONLY) || !attach_mount(secrets.get(), AT_FDCWD, target)) {
    return false;
  }
  return at(Step::root_file_system, {});
}

bool RootBuilder::enter() {
  at("mount /proc");
  if (!plan_.bundle && ::mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0) return false;
  at("make the root read-only");
  const Fd root(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root || !set_mount_attributes(root.get(), MOUNT_ATTR_RDONLY)) return false;
  if (plan_.bundle) return true;
  at("change the root");
  return ::syscall(SYS_pivot_root, ".", ".") == 0 && ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0;
}

}  // namespace millrace::launcher
