#include "runtime/launcher/directory_image.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <string_view>

#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

constexpr std::size_t kOwnBytes = 4 * 1024 * 1024;
constexpr std::size_t kCopyBytesMax = 256 * 1024;

// Directories of ours. In an image they are real directories or absent: one that has a link or a file there was made
// to lead somewhere, or is no root file system.
constexpr std::array kOwn{"proc", "dev", "sys", "tmp", "etc", "run", "run/secrets", "oscar", "oscar/config"};
// Of these nothing of the image shows.
constexpr std::array kOpaque{"proc", "dev", "sys", "tmp", "run/secrets", "oscar"};
// The skeleton lies over the image, and between them a veil, in which the names above are gone (whiteouts): what the
// skeleton has there has nothing below it, on every file system and for every user. Relative names keep our paths out
// of what mountinfo shows inside.
constexpr const char* kLayers = "skeleton:veil:image";

// Looks at a name of the image without following any link, and never outside of it.
Fd look(int image, const std::string& name) {
  open_how how{};
  how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  return Fd(static_cast<int>(::syscall(SYS_openat2, image, name.c_str(), &how, sizeof(how))));
}

class Builder : RootBuilder {
 public:
  Builder(const ImagePlan& plan, const Fd& image) : RootBuilder(plan), image_(image) {}

  std::expected<void, ImageError> build() {
    const bool made = make_base() && check_image() && make_skeleton() && fill_skeleton() &&
                      (plan().bundle                              ? make_bundle_root()
                       : plan().request.image == Image::directory ? make_root() && enter()
                                                                  : make_parts() && enter());
    if (!made) return error();
    return {};
  }

 private:
  bool make_base() {
    at("make the root file system");
    const std::string size = std::to_string(kOwnBytes + provided_bytes());
    const Fd base = make_mount("tmpfs", {{"mode", "755"}, {"size", size.c_str()}, {"nr_inodes", "4096"}},
                               MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (!base || !attach_mount(base.get(), AT_FDCWD, plan().build_point) || ::chdir(plan().build_point) < 0) {
      return false;
    }
    for (const char* name : {"image", "veil", "veil/run", "skeleton", "root"}) {
      if (!make_directory(name)) return false;
    }
    at(Step::image, "attach the image");
    return attach_mount(image_.get(), AT_FDCWD, "image");
  }

  // The image's own directory of that name, and what it allows.
  bool check_directory(const std::string& name, mode_t& mode) {
    mode = 0755;
    const Fd found = look(image_.get(), name);
    if (!found) return errno == ENOENT;
    struct stat status{};
    if (::fstat(found.get(), &status) < 0) return false;
    mode = status.st_mode & 0777;
    if (S_ISDIR(status.st_mode)) return true;
    errno = S_ISLNK(status.st_mode) ? ELOOP : ENOTDIR;
    return false;
  }

  // Where the name leads within the image: a file in its place would take away all that is there.
  [[nodiscard]] bool is_directory(const std::string& name) const {
    open_how how{};
    how.flags = O_PATH | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    const Fd found(static_cast<int>(::syscall(SYS_openat2, image_.get(), name.c_str(), &how, sizeof(how))));
    struct stat status{};
    return found && ::fstat(found.get(), &status) == 0 && S_ISDIR(status.st_mode);
  }

  bool check_image() {
    mode_t ignored = 0;
    return std::ranges::all_of(kOwn, [&](const char* name) {
      at(Step::image, "look at /" + std::string(name) + " of the image, which must be a directory and no link");
      return check_directory(name, ignored);
    });
  }

  // Everything in the skeleton belongs to id 0 of the function's user namespace, as in the image.
  bool give(const std::string& path) { return RootBuilder::give(skeleton_.get(), path, plan().root_id); }

  bool make_skeleton_directory(const std::string& path, mode_t mode) {
    if (::mkdirat(skeleton_.get(), path.c_str(), mode) < 0) return errno == EEXIST;
    return ::fchmodat(skeleton_.get(), path.c_str(), mode, 0) == 0 && give(path);
  }

  bool make_skeleton() {
    at(Step::root_file_system, "make the skeleton of the root");
    skeleton_ = Fd(::open("skeleton", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!skeleton_ || !give(".")) return false;
    for (const char* name : kOwn) {
      // An OCI runtime may give what it mounts the mode of what it covers.
      const bool scratch = plan().bundle && std::string_view(name) == "tmp";
      if (!make_skeleton_directory(name, scratch ? 01777 : 0755)) return false;
    }
    return std::ranges::all_of(kOpaque, [](const char* name) {
      return ::mknod((std::string("veil/") + name).c_str(), S_IFCHR, makedev(0, 0)) == 0;
    });
  }

  static std::string of_host(const char* path) { return read_file(AT_FDCWD, path, kCopyBytesMax).value_or(""); }

  bool fill_skeleton() {
    at("write /etc/hosts and /etc/resolv.conf");
    if (!write("/etc/resolv.conf", resolv_conf(of_host("/etc/resolv.conf")), 0644) ||
        !write("/etc/hosts", hosts(of_host("/etc/hosts")), 0644) || !place_script(skeleton_.get()) ||
        (plan().request.script && !give(std::string(kScriptPath.substr(1))))) {
      return false;
    }
    return std::ranges::all_of(plan().provided,
                               [this](const ProvidedFile& file) { return file.secret || place(file); });
  }

  bool write(const std::string& path, std::string_view bytes, mode_t mode) {
    return write_below(skeleton_.get(), path, bytes, mode) && give(path.substr(1));
  }

  // The directories above keep what the image says of them: a layer's own would hide that.
  bool place(const ProvidedFile& file) {
    for (auto slash = file.path.find('/', 1); slash != std::string::npos; slash = file.path.find('/', slash + 1)) {
      const std::string above = file.path.substr(1, slash - 1);
      mode_t mode = 0;
      at_file(file, "/" + above);
      if (!check_directory(above, mode) || !make_skeleton_directory(above, mode)) return false;
    }
    at_file(file);
    if (is_directory(file.path.substr(1))) {
      errno = EISDIR;
      return false;
    }
    return write(file.path, file.content, 0444) && at(Step::root_file_system, {});
  }

  bool attach_overlay(const std::string& target) {
    at("show the image by an overlay");
    const Fd overlay =
        make_mount("overlay", {{"lowerdir", kLayers}}, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    return overlay && attach_mount(overlay.get(), AT_FDCWD, target.c_str());
  }

  // Of a bundle.
  bool make_bundle_root() {
    const bool copy = plan().request.image == Image::directory_copy;
    if (!(copy ? attach_writable_overlay("root") : attach_overlay("root")) || ::chdir("root") < 0) return false;
    return attach_secrets(kSecretsDirectory.substr(1).data()) && (copy || enter());
  }

  // What a run changes counts as its scratch: it is written with the run's memory, and bounded.
  bool attach_writable_overlay(const std::string& target) {
    at(Step::copy_on_write, "make the copy-on-write root");
    if (!make_directory("upper") ||
        ::mount("tmpfs", "upper", "tmpfs", MS_NOSUID | MS_NODEV, plan().upper_options) < 0 ||
        !make_directory("upper/changes") || !make_directory("upper/work") ||
        ::chown("upper/changes", plan().root_id, plan().root_id) < 0) {
      return false;
    }
    const Fd overlay = make_mount(
        "overlay",
        {{"lowerdir", kLayers}, {"upperdir", "upper/changes"}, {"workdir", "upper/work"}, {"volatile", nullptr}},
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    return overlay && attach_mount(overlay.get(), AT_FDCWD, target.c_str()) && at(Step::root_file_system, {});
  }

  bool make_root() {
    return attach_overlay("root") && ::chdir("root") == 0 && attach_devices() &&
           attach_secrets(kSecretsDirectory.substr(1).data());
  }

  bool make_parts() {
    at("make the root of the template");
    const Fd parts = make_mount("tmpfs", {{"mode", "755"}, {"size", "64k"}, {"nr_inodes", "32"}},
                                MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (!parts || !attach_mount(parts.get(), AT_FDCWD, "root")) return false;
    for (const char* name : {"dev", "proc", "sys", kLowerDirectory + 1, kUpperDirectory + 1, kNewRootDirectory + 1,
                             kKeptSecretsDirectory + 1}) {
      if (!make_directory(std::string("root/") + name)) return false;
    }
    return attach_overlay(std::string("root") + kLowerDirectory) && ::chdir("root") == 0 && attach_devices() &&
           attach_secrets(kKeptSecretsDirectory + 1);
  }

  const Fd& image_;
  Fd skeleton_;
};

}  // namespace

std::expected<Fd, ImageError> mount_image(int directory, int user_namespace) {
  constexpr std::uint64_t kAttributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  const auto failed = [](const char* what) {
    return std::unexpected(ImageError{.step = Step::image, .error = errno, .what = what});
  };
  Fd image = clone_mount(directory);
  if (!image) return failed("clone the mount of the image");
  if (!set_mount_attributes(image.get(), kAttributes, user_namespace)) {
    return failed("map the owners of the image's files (its file system must allow idmapped mounts: ext4, xfs, btrfs)");
  }
  return image;
}

std::expected<void, ImageError> enter_directory_image(const ImagePlan& plan, const Fd& image) {
  return Builder(plan, image).build();
}

}  // namespace millrace::launcher
