#include "runtime/launcher/container_support.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <utility>

#include "runtime/launcher/namespaces.h"
#include "runtime/launcher/passed_files.h"
#include "runtime/launcher/seccomp.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

std::string map_line(std::uint32_t inside, std::uint32_t outside, std::uint32_t count) {
  return std::to_string(inside) + " " + std::to_string(outside) + " " + std::to_string(count) + "\n";
}

ControlState missing(std::string reason) {
  return {.support = Support::missing, .reason = std::move(reason)};
}
ControlState real() {
  return {.support = Support::real, .reason = {}};
}

bool can_filter() {
  const std::uint32_t action = SECCOMP_RET_KILL_PROCESS;
  return ::syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

// The content of a small regular file, whatever the descriptor's position.
Result<std::string> read_script(int fd) {
  struct stat status{};
  if (::fstat(fd, &status) < 0 || !S_ISREG(status.st_mode)) {
    return fail(Errc::invalid_argument, "the script is not a regular file");
  }
  if (status.st_size < 0 || static_cast<std::uint64_t>(status.st_size) > kScriptBytesMax) {
    return fail(Errc::too_large, "the script is over " + std::to_string(kScriptBytesMax) + " bytes");
  }
  std::string bytes(static_cast<std::size_t>(status.st_size), '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = ::pread(fd, bytes.data() + have, bytes.size() - have, static_cast<off_t>(have));
    if (got < 0) return fail(error_from_errno(errno, "read the script"));
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

// Whether the descriptor is a directory that the daemon may read, beneath one of those where images may lie. Where it
// lies is the kernel's word: links on the way to it do not matter.
Result<void> check_image(int fd, const std::vector<std::string>& allowed) {
  struct stat status{};
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || (flags & O_PATH) != 0 || ::fstat(fd, &status) < 0 || !S_ISDIR(status.st_mode)) {
    return fail(Errc::invalid_argument, "the image is no directory opened for reading");
  }
  std::array<char, PATH_MAX> buffer{};
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t size = ::readlink(link.c_str(), buffer.data(), buffer.size());
  const std::string_view path(buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  const bool found = std::ranges::any_of(allowed, [path](std::string_view place) {
    return path.starts_with(place) && path.size() > place.size() && path[place.size()] == '/';
  });
  if (found) return {};
  return fail(Errc::permission_denied, "the image lies in none of the directories that image_directories lists");
}

}  // namespace

std::string function_id_map(std::uint32_t slot, std::uint32_t run_id) {
  const std::uint32_t base = kTemplateUid + slot * kIdsPerSlot;
  const std::string first = map_line(0, kTemplateUid, 1);
  if (run_id == 0) return first + map_line(1, base + 1, kIdsPerSlot - 1);
  return first + map_line(1, base + 1, kRunUid - 1) + map_line(kRunUid, run_id, 1) +
         map_line(kRunUid + 1, base + kRunUid + 1, kIdsPerSlot - kRunUid - 1);
}

std::string root_id_map(std::uint32_t slot, std::uint32_t run_id) {
  const std::uint32_t base = root_host_id(slot);
  const std::string last = map_line(kTemplateUidBeside, kTemplateUid, 1);
  if (run_id == 0) return map_line(0, base, kTemplateUidBeside) + last;
  return map_line(0, run_id, 1) + map_line(1, base + 1, kTemplateUidBeside - 1) + last;
}

ContainerSupport::ContainerSupport(const LauncherOptions& options, const HostRights& rights)
    : options_(options), rights_(rights), slots_(1, true) {
  if (!rights.containers()) {
    namespaces_ = seccomp_ = idmap_ = user_ids_ = missing(rights.lack);
    return;
  }
  for (const Network network : {Network::none, Network::host, Network::outbound}) {
    outer_filters_.at(static_cast<std::size_t>(network)) = compile_filter(network, FilterPart::outer);
  }
  inner_filter_ = compile_filter(Network::none, FilterPart::inner);  // the same for all
  seccomp_ = can_filter() ? real() : missing("this kernel has no seccomp filters");
  const auto tried = try_all();
  namespaces_ = tried ? real() : missing(tried.error().message);
  if (!tried) idmap_ = user_ids_ = namespaces_;
}

Result<void> ContainerSupport::try_all() {
  if (auto tried = try_namespaces(); !tried) return tried;
  const std::string probe_map = map_line(0, rights_.one_id() ? ::geteuid() : run_host_id(0), 1);
  const std::string group_map = map_line(0, rights_.one_id() ? ::getegid() : run_host_id(0), 1);
  const auto probe = make_user_namespace(probe_map, group_map);
  if (!probe) return fail(probe.error());
  if (rights_.one_id()) {
    idmap_ = {.support = Support::emulated, .reason = "only root can map owners; runs use this user's id"};
    user_ids_ = missing(
        "without root every function runs as this user: it shares the limits that the kernel counts by "
        "user, and may read what this user may of what image: host shows");
    return {};
  }
  user_ids_ = real();
  const Fd root = open_directory(AT_FDCWD, "/");
  idmap_ =
      maps_ids(root.get(), probe->get())
          ? real()
          : ControlState{.support = Support::emulated,
                         .reason = "the root file system refuses idmapped mounts; there, runs use the daemon's id"};
  return {};
}

ControlState ContainerSupport::state(Control control) const {
  switch (control) {
    case Control::namespaces: return namespaces_;
    case Control::seccomp: return seccomp_;
    case Control::idmapped_mounts: return idmap_;
    case Control::user_ids: return user_ids_;
    default: return missing("not a control of containers");
  }
}

bool ContainerSupport::maps_ids(int directory, int idmap_namespace) const {
  const Fd mount = clone_mount(directory);
  return mount && set_mount_attributes(mount.get(), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, idmap_namespace);
}

std::uint32_t ContainerSupport::take_slot() {
  const auto free = std::ranges::find(slots_, false);
  const auto slot = static_cast<std::uint32_t>(free - slots_.begin());
  if (free == slots_.end()) {
    slots_.push_back(true);
  } else {
    *free = true;
  }
  return slot;
}

void ContainerSupport::free(std::uint32_t slot) {
  slots_.at(slot) = false;
}

std::expected<TemplateResources, PrepareFailed> ContainerSupport::allocate(const Prepare& request,
                                                                           std::span<const Fd> descriptors) {
  const auto refuse = [&request](Step step, int error, std::string text) {
    return std::unexpected(PrepareFailed{
        .template_id = request.template_id, .step = step, .error = error, .text = text.substr(0, kTextBytesMax)});
  };
  for (const ControlState& needed : {namespaces_, seccomp_}) {
    if (needed.support != Support::real) return refuse(Step::user_namespace, EPERM, needed.reason);
  }
  TemplateResources made;
  std::size_t next = 0;
  if (request.script) {
    auto bytes = read_script(descriptors[next++].get());
    if (!bytes) return refuse(Step::script, EINVAL, bytes.error().message);
    made.script_bytes = std::move(*bytes);
  }
  if (request.image != Image::host) {
    const int image = descriptors[next++].get();
    if (auto allowed = check_image(image, options_.images); !allowed) {
      return refuse(Step::image, EACCES, allowed.error().message);
    }
    made.image = rights_.one_id() ? find_here(image) : Fd(::fcntl(image, F_DUPFD_CLOEXEC, 0));
    if (!made.image) return refuse(Step::image, errno, "keep the image's directory");
  }
  if (request.provided) made.provided = Fd(::fcntl(descriptors[next++].get(), F_DUPFD_CLOEXEC, 0));
  made.slot = take_slot();
  const int probe_directory = request.probe_directory ? descriptors.back().get() : -1;
  auto given = rights_.one_id() ? give_one_id(made, request) : give_ids(made, request, probe_directory);
  if (!given) {
    free(made.slot);
    return refuse(Step::user_namespace, EPERM, given.error().message);
  }
  return made;
}

Result<void> ContainerSupport::give_ids(TemplateResources& made, const Prepare& request, int probe_directory) const {
  const bool as_root = runs_as_root(request);
  made.root_id = root_host_id(made.slot);
  const std::uint32_t run = as_root ? made.root_id : run_host_id(made.slot);
  auto idmap = make_user_namespace(map_line(options_.daemon_uid, run, 1), map_line(options_.daemon_gid, run, 1));
  if (!idmap) return fail(idmap.error());
  made.files = FileAccess::idmapped;
  if (probe_directory >= 0 && !maps_ids(probe_directory, idmap->get())) {
    made.files = FileAccess::daemon_uid;
    // Without capabilities, too, host root owns what a function must not touch: files of /proc/sys among them.
    if (options_.daemon_uid == 0 || options_.daemon_gid == 0) {
      return fail(Errc::failed_precondition,
                  "the file system refuses idmapped mounts and the daemon runs as root; run it as an ordinary user or "
                  "move its data");
    }
  }
  if (made.files == FileAccess::idmapped) made.idmap_namespace = std::move(*idmap);
  const bool own = made.files == FileAccess::idmapped;
  made.run_id = own ? run : options_.daemon_uid;
  const auto map = as_root ? root_id_map : function_id_map;
  auto function =
      make_user_namespace(map(made.slot, own ? 0 : options_.daemon_uid), map(made.slot, own ? 0 : options_.daemon_gid));
  if (!function) return fail(function.error());
  made.user_namespace = std::move(*function);
  return {};
}

// Template and run are one user inside, too, so that nothing has to change users: what makes the one more than the
// other are capabilities, which the run gives up.
Result<void> ContainerSupport::give_one_id(TemplateResources& made, const Prepare& request) const {
  if (request.profile == Profile::compat) {
    return fail(Errc::failed_precondition, "profile: compat needs several users, and without root there is one");
  }
  made.files = FileAccess::daemon_uid;
  made.one_id = true;
  made.run_id = made.root_id = ::geteuid();
  const std::uint32_t inside = runs_as_root(request) ? 0 : kRunUid;
  auto function = make_user_namespace(map_line(inside, ::geteuid(), 1), map_line(inside, ::getegid(), 1));
  if (!function) return fail(function.error());
  made.user_namespace = std::move(*function);
  return {};
}

}  // namespace millrace::launcher
