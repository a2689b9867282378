#include "runtime/launcher/host_image.h"

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
#include <climits>
#include <utility>

#include "core/fd.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

// Any directory that every host has and that the image does not come from: the new root is put over it.
constexpr const char* kBuildPoint = "/sys";
constexpr std::size_t kMountinfoBytesMax = 1024 * 1024;
constexpr std::size_t kCopyBytesMax = 256 * 1024;  // of /etc/passwd and the like
constexpr std::size_t kSubmountsMax = 64;
constexpr std::array kParts{"usr", "etc", "opt", "bin", "sbin", "lib", "lib32", "lib64", "libx32"};

// Upper layers of the overlays, attached here only while they are mounted: they hold our own /etc files and, as
// whiteouts, what is hidden.
const std::string kLayers = "run";

class Builder {
 public:
  explicit Builder(const HostImage& image) : image_(image) {}

  std::expected<void, ImageError> build() {
    if (!make_root() || !make_layers() || !hide() || !show_parts() || !show_more() || !finish_layers() ||
        !make_devices() || !place_script() || !enter()) {
      return std::unexpected(ImageError{.step = step_, .error = errno, .what = what_});
    }
    return {};
  }

 private:
  // For the message of whatever fails next.
  bool at(std::string what) {
    what_ = std::move(what);
    return true;
  }

  bool make_root() {
    at("read the host's mounts");
    auto mountinfo = read_file(AT_FDCWD, "/proc/self/mountinfo", kMountinfoBytesMax);
    if (!mountinfo) return false;
    mountinfo_ = std::move(*mountinfo);
    at("make the root file system");
    root_ = make_mount("tmpfs", {{"mode", "755"}, {"size", "4m"}, {"nr_inodes", "512"}},
                       MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (!root_ || !attach_mount(root_.get(), AT_FDCWD, kBuildPoint) || ::chdir(kBuildPoint) < 0) return false;
    for (const char* directory : {"dev", "proc", "tmp", "sys", "run", "root", "home", "var", "oscar", "oscar/config"}) {
      if (!make_directory(directory)) return false;
    }
    return ::symlink("/tmp", "var/tmp") == 0;
  }

  bool make_directory(const std::string& path) {
    at("make the directory /" + path);
    return ::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST;
  }

  bool make_parents(const std::string& path) {
    for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      if (!make_directory(path.substr(0, slash))) return false;
    }
    return true;
  }

  bool make_layers() {
    at("make the layers");
    const Fd layers = make_mount("tmpfs", {{"mode", "755"}, {"size", "4m"}},
                                 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (!layers || !attach_mount(layers.get(), AT_FDCWD, kLayers.c_str())) return false;
    if (!make_directory(kLayers + "/etc")) return false;
    const bool host_network = image_.network == Network::host;
    const std::string loopback = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
    const std::string user = std::to_string(kRunUid);
    return write_layer("etc/resolv.conf", host_network ? of_host("/etc/resolv.conf") : "") &&
           write_layer("etc/hosts", host_network ? of_host("/etc/hosts") : loopback) &&
           write_layer("etc/passwd", of_host("/etc/passwd") + "function:x:" + user + ":" + user + "::/tmp:/bin/sh\n") &&
           write_layer("etc/group", of_host("/etc/group") + "function:x:" + user + ":\n");
  }

  static std::string of_host(const char* path) {
    auto text = read_file(AT_FDCWD, path, kCopyBytesMax).value_or("");
    if (!text.empty() && text.back() != '\n') text += '\n';
    return text;
  }

  bool write_layer(const std::string& name, std::string_view text) {
    at("write /" + name);
    const std::string path = kLayers + "/" + name;
    const Fd file(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644));
    return file && ::write(file.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
  }

  // A character device 0/0 in an upper layer makes the name vanish.
  bool hide() {
    for (const std::string& path : image_.options.hide) {
      const std::string layer = kLayers + path;
      at("hide " + path);
      if (!make_parents(layer)) return false;
      ::unlink(layer.c_str());
      if (::mknod(layer.c_str(), S_IFCHR, makedev(0, 0)) < 0) return false;
    }
    return true;
  }

  bool show_parts() {
    for (const char* part : kParts) {
      const std::string host = std::string("/") + part;
      struct stat status{};
      if (::lstat(host.c_str(), &status) < 0) continue;
      if (S_ISLNK(status.st_mode)) {
        if (!copy_link(host, part)) return false;
      } else if (S_ISDIR(status.st_mode) && !show(part)) {
        return false;
      }
    }
    return true;
  }

  bool copy_link(const std::string& host, const char* part) {
    at("copy the link " + host);
    std::array<char, PATH_MAX> target{};
    const ssize_t size = ::readlink(host.c_str(), target.data(), target.size() - 1);
    return size > 0 && ::symlink(target.data(), part) == 0;
  }

  bool show_more() {
    return std::ranges::all_of(image_.options.show, [this](const std::string& path) {
      const std::string inside = path.substr(1);
      return make_parents(inside) && show(inside);
    });
  }

  // An overlay is made of one mount, so what is mounted further below gets one of its own. A file system that overlay
  // refuses stays away: the directory below it shows instead.
  bool show(const std::string& part) {
    if (!make_directory(part) || !overlay(part)) return false;
    const auto below = mounts_below(mountinfo_, "/" + part);
    for (std::size_t i = 0; i < std::min(below.size(), kSubmountsMax); ++i) {
      struct stat status{};
      if (::stat(below[i].c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
        static_cast<void>(overlay(below[i].substr(1)));
      }
    }
    return true;
  }

  bool overlay(const std::string& part) {
    // Two lower layers are the least for an overlay that is never written. The relative name keeps our paths out of
    // what mountinfo shows inside.
    std::string upper = kLayers + "/" + part;
    if (::access(upper.c_str(), F_OK) < 0) upper = kLayers + "/none";
    if (!make_directory(upper)) return false;
    at("show /" + part + " by an overlay");
    const std::string lower = upper + ":/" + part;
    const Fd mount =
        make_mount("overlay", {{"lowerdir", lower.c_str()}}, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    return mount && attach_mount(mount.get(), AT_FDCWD, part.c_str());
  }

  // The overlays keep what they need of the layers.
  bool finish_layers() {
    at("detach the layers");
    return ::umount2(kLayers.c_str(), MNT_DETACH) == 0;
  }

  bool make_devices() {
    at("make /dev");
    const Fd devices = make_mount("tmpfs", {{"mode", "755"}, {"size", "64k"}, {"nr_inodes", "32"}},
                                  MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    if (!devices) return false;
    struct Node {
      const char* name;
      unsigned major, minor;
    };
    static constexpr std::array kNodes{Node{"null", 1, 3},   Node{"zero", 1, 5},    Node{"full", 1, 7},
                                       Node{"random", 1, 8}, Node{"urandom", 1, 9}, Node{"tty", 5, 0}};
    const mode_t mask = ::umask(0);
    bool made = std::ranges::all_of(kNodes, [&devices](const Node& node) {
      return ::mknodat(devices.get(), node.name, S_IFCHR | 0666, makedev(node.major, node.minor)) == 0;
    });
    ::umask(mask);
    using Link = std::pair<const char*, const char*>;
    static constexpr std::array kLinks{Link{"/proc/self/fd", "fd"}, Link{"/proc/self/fd/0", "stdin"},
                                       Link{"/proc/self/fd/1", "stdout"}, Link{"/proc/self/fd/2", "stderr"}};
    made = made && std::ranges::all_of(kLinks, [&devices](const Link& link) {
             return ::symlinkat(link.first, devices.get(), link.second) == 0;
           });
    return made && ::mkdirat(devices.get(), "shm", 0755) == 0 &&
           set_mount_attributes(devices.get(), MOUNT_ATTR_RDONLY) && attach_mount(devices.get(), AT_FDCWD, "dev");
  }

  bool place_script() {
    if (!image_.script) return true;
    step_ = Step::script;
    at("write the script");
    {
      const std::string path(kScriptPath.substr(1));
      const Fd file(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0555));
      const auto bytes = image_.script_bytes;
      if (!file || ::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
        return false;
      }
    }
    step_ = Step::root_file_system;
    return true;
  }

  bool enter() {
    at("mount /proc");
    if (::mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0) return false;
    at("make the root read-only");
    if (!set_mount_attributes(root_.get(), MOUNT_ATTR_RDONLY)) return false;
    root_.reset();
    at("change the root");
    return ::syscall(SYS_pivot_root, ".", ".") == 0 && ::umount2(".", MNT_DETACH) == 0 && ::chdir("/") == 0;
  }

  const HostImage& image_;
  Step step_ = Step::root_file_system;
  std::string what_;
  std::string mountinfo_;
  Fd root_;
};

}  // namespace

std::expected<void, ImageError> enter_host_image(const HostImage& image) {
  return Builder(image).build();
}

std::vector<std::string> mounts_below(std::string_view mountinfo, std::string_view directory) {
  std::vector<std::string> found;
  while (!mountinfo.empty()) {
    auto line = mountinfo.substr(0, mountinfo.find('\n'));
    mountinfo.remove_prefix(std::min(mountinfo.size(), line.size() + 1));
    // The fifth field; mount points are listed in the order of mounting, so the outer before the inner.
    for (int field = 0; field < 4 && !line.empty(); ++field) {
      line.remove_prefix(
          std::min(line.size(), line.find(' ') == std::string_view::npos ? line.size() : line.find(' ') + 1));
    }
    const auto point = line.substr(0, line.find(' '));
    const bool below =
        point.size() > directory.size() + 1 && point.starts_with(directory) && point[directory.size()] == '/';
    // A name with an escape (a space and the like) is left out rather than guessed.
    if (below && point.find('\\') == std::string_view::npos) found.emplace_back(point);
  }
  return found;
}

}  // namespace millrace::launcher
