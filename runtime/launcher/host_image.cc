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

constexpr std::size_t kMountinfoBytesMax = 1024 * 1024;
constexpr std::size_t kCopyBytesMax = 256 * 1024;  // of /etc/passwd and the like
constexpr std::size_t kSubmountsMax = 64;
constexpr std::size_t kOwnBytes = 4 * 1024 * 1024;  // of what we write ourselves: script, /etc

// Upper layers of the overlays, attached here only while they are mounted: they hold our own /etc files and, as
// whiteouts, what is hidden.
const std::string kLayers = "run";

class Builder : RootBuilder {
 public:
  explicit Builder(const ImagePlan& plan) : RootBuilder(plan) {}

  std::expected<void, ImageError> build() {
    if (!make_root() || !make_layers() || !hide() || !place_files() || !show_parts() || !show_more() ||
        !finish_layers() || !add_own() || !enter()) {
      return error();
    }
    return {};
  }

 private:
  bool make_root() {
    at("read the host's mounts");
    auto mountinfo = read_file(AT_FDCWD, "/proc/self/mountinfo", kMountinfoBytesMax);
    if (!mountinfo) return false;
    mountinfo_ = std::move(*mountinfo);
    at("make the root file system");
    const std::string size = std::to_string(kOwnBytes + provided_bytes());
    const Fd root = make_mount("tmpfs", {{"mode", "755"}, {"size", size.c_str()}, {"nr_inodes", "2048"}},
                               MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (!root || !attach_mount(root.get(), AT_FDCWD, plan().build_point) || ::chdir(plan().build_point) < 0) {
      return false;
    }
    for (const char* directory : {"dev", "proc", "tmp", "sys", "run", "root", "home", "var", "oscar", "oscar/config"}) {
      if (!make_directory(directory)) return false;
    }
    // An OCI runtime may give what it mounts the mode of what it covers.
    if (plan().bundle && ::chmod("tmp", 01777) < 0) return false;
    return ::symlink("/tmp", "var/tmp") == 0;
  }

  bool make_parents(const std::string& path) {
    for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      if (!make_directory(path.substr(0, slash))) return false;
    }
    return true;
  }

  bool make_layers() {
    at("make the layers");
    const std::string size = std::to_string(kOwnBytes + provided_bytes());
    const Fd layers = make_mount("tmpfs", {{"mode", "755"}, {"size", size.c_str()}},
                                 MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    if (!layers || !attach_mount(layers.get(), AT_FDCWD, kLayers.c_str())) return false;
    if (!make_directory(kLayers + "/etc")) return false;
    const std::string user = std::to_string(kRunUid);
    return write_layer("etc/resolv.conf", resolv_conf(of_host("/etc/resolv.conf"))) &&
           write_layer("etc/hosts", hosts(of_host("/etc/hosts"))) &&
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

  // The directories above `path` in the layer. An overlay shows a directory with the attributes of its uppermost layer:
  // they are the host's, else a closed directory would stand open for the sake of one file in it.
  bool make_layer_parents(const std::string& path) {
    for (auto slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
      const std::string directory = path.substr(0, slash);
      const std::string layer = kLayers + directory;
      if (!make_directory(layer)) return false;
      struct stat status{};
      if (::lstat(directory.c_str(), &status) < 0 || !S_ISDIR(status.st_mode)) continue;
      // Nobody else's owner can be given where one id is mapped; the host's directory itself lets in whom it did then.
      if (!plan().one_id && ::lchown(layer.c_str(), status.st_uid, status.st_gid) < 0) return false;
      if (::chmod(layer.c_str(), status.st_mode & 07777) < 0) return false;
    }
    return true;
  }

  // A character device 0/0 in an upper layer makes the name vanish.
  bool hide() {
    for (const std::string& path : plan().options.hide) {
      const std::string layer = kLayers + path;
      if (!make_layer_parents(path)) return false;
      at("hide " + path);
      ::unlink(layer.c_str());
      if (::mknod(layer.c_str(), S_IFCHR, makedev(0, 0)) < 0) return false;
    }
    return true;
  }

  bool show_parts() {
    for (const char* part : kHostParts) {
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
    return std::ranges::all_of(plan().options.show, [this](const std::string& path) {
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

  static bool lies_in(std::string_view path, std::string_view directory) {
    return path.starts_with(directory) && path.size() > directory.size() && path[directory.size()] == '/';
  }

  // Whether a path lies in what an overlay shows: then a file for it goes into the overlay's layer.
  [[nodiscard]] bool is_shown(std::string_view path) const {
    return std::ranges::any_of(kHostParts,
                               [path](const char* part) { return lies_in(path, std::string("/") + part); }) ||
           std::ranges::any_of(plan().options.show, [path](std::string_view shown) { return lies_in(path, shown); });
  }

  // Whether a file at this path would take away all that is shown there. Links count by where they lead.
  [[nodiscard]] bool is_shown_directory(const std::string& path) const {
    const bool shown = is_shown(path) || std::ranges::find(kHostParts, path.substr(1)) != kHostParts.end() ||
                       std::ranges::any_of(plan().options.show, [&path](std::string_view more) {
                         return more == path || lies_in(more, path);
                       });
    struct stat status{};
    return shown && ::stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
  }

  bool place_files() {
    for (const ProvidedFile& file : plan().provided) {
      if (file.secret) continue;
      const bool shown = is_shown(file.path);
      if (shown && !leads_through_directories(file)) return false;
      at_file(file);
      if (is_shown_directory(file.path)) {
        errno = EISDIR;
        return false;
      }
      if (shown && !make_layer_parents(file.path)) return false;
      at_file(file);
      const Fd below(::open(shown ? kLayers.c_str() : ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
      if (!below || !write_below(below.get(), file.path, file.content, 0444)) return false;
    }
    return at(Step::root_file_system, {});
  }

  // A directory in the layer would hide a link of the host's that many programs may need.
  bool leads_through_directories(const ProvidedFile& file) {
    for (auto slash = file.path.find('/', 1); slash != std::string::npos; slash = file.path.find('/', slash + 1)) {
      const std::string part = file.path.substr(0, slash);
      at_file(file, part);
      struct stat status{};
      if (::lstat(part.c_str(), &status) < 0) return errno == ENOENT;
      if (S_ISDIR(status.st_mode)) continue;
      errno = S_ISLNK(status.st_mode) ? ELOOP : ENOTDIR;
      return false;
    }
    return true;
  }

  bool add_own() {
    if (!plan().bundle && !attach_devices()) return false;
    if (has_secrets() && !make_directory(std::string(kSecretsDirectory.substr(1)))) return false;
    const Fd root(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
    return root && attach_secrets(kSecretsDirectory.substr(1).data()) && place_script(root.get());
  }

  std::string mountinfo_;
};

}  // namespace

std::expected<void, ImageError> enter_host_image(const ImagePlan& plan) {
  return Builder(plan).build();
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
