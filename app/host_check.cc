#include "app/host_check.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "app/child_process.h"
#include "app/host_facts.h"
#include "app/host_image_options.h"
#include "app/launcher_image.h"
#include "app/oci_runtimes.h"
#include "app/wiring.h"
#include "core/units.h"
#include "runtime/launched/host_check.h"
#include "runtime/launcher/protocol.h"
#ifdef MILLRACE_WITH_POSTGRES
#include "state/postgres/postgres_state.h"
#endif

namespace millrace {
namespace {

constexpr int kLauncherWaitMs = 20'000;
constexpr std::uint64_t kFreeBytesWanted = 1ULL << 30;

Control control(std::string name, ControlState state, std::string detail) {
  return {.name = std::move(name), .state = state, .detail = std::move(detail)};
}

Control check_kernel() {
  struct utsname name{};
  ::uname(&name);
  int major = 0;
  int minor = 0;
  std::sscanf(name.release, "%d.%d", &major, &minor);  // NOLINT: two numbers of the kernel's own making
  const bool enough = major > 6 || (major == 6 && minor >= 1);
  return control("kernel", enough ? ControlState::real : ControlState::missing,
                 std::string(name.release) + (enough ? "" : "; 6.1 or newer is expected"));
}

Control check_user(const Config& config, bool isolated) {
  if (::geteuid() != 0) {
    return control("user", ControlState::emulated,
                   std::string("not root: functions run as this user, ") +
                       (isolated ? "in containers" : "with executor: process only") +
                       "; what needs more is refused when it is applied");
  }
  const auto user = find_user(config.user);
  if (user) return control("user", ControlState::real, "the daemon runs as " + config.user);
  return control("user", ControlState::missing, "user '" + config.user + "' does not exist; run scripts/make_user");
}

// Reads the launcher's introduction; nothing when it does not come.
std::optional<launcher::Hello> read_hello(int socket) {
  struct pollfd ready{.fd = socket, .events = POLLIN, .revents = 0};
  if (::poll(&ready, 1, kLauncherWaitMs) != 1) return std::nullopt;
  std::array<char, launcher::kDatagramBytesMax> datagram{};
  const ssize_t n = ::recv(socket, datagram.data(), datagram.size(), 0);
  if (n <= 0) return std::nullopt;
  auto answer = launcher::decode_answer({datagram.data(), static_cast<std::size_t>(n)});
  if (!answer || !std::holds_alternative<launcher::Hello>(*answer)) return std::nullopt;
  return std::get<launcher::Hello>(std::move(*answer));
}

Result<launcher::Hello> ask_launcher(const Config& config) {
  std::array<int, 2> data{};
  std::array<int, 2> life{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, data.data()) != 0 ||
      ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, life.data()) != 0) {
    return fail(error_from_errno(errno, "make a socket"));
  }
  Fd data_here(data[0]);
  const Fd data_there(data[1]);
  Fd life_here(life[0]);
  const Fd life_there(life[1]);
  const auto program = sealed_program("millrace-launcher", launcher_image());
  if (!program) return fail(program.error());
  std::vector<std::string> arguments{"millrace-launcher", "--prefix=millrace-check-" + std::to_string(::getpid()),
                                     "--daemon-uid=" + std::to_string(::geteuid()),
                                     "--daemon-gid=" + std::to_string(::getegid())};
  for (auto& flag : oci_runtime_flags(config)) arguments.push_back(std::move(flag));
  const auto child = start_child({.executable = program->get(),
                                  .argv = std::move(arguments),
                                  .environment = {},
                                  .descriptors = {data_there.get(), life_there.get()},
                                  .user = std::nullopt,
                                  .no_new_privileges = false});
  if (!child) return fail(child.error());
  const auto hello = read_hello(data_here.get());
  data_here.reset();
  life_here.reset();  // it cleans up and leaves
  struct pollfd ended{.fd = child->pidfd.get(), .events = POLLIN, .revents = 0};
  if (::poll(&ended, 1, kLauncherWaitMs) != 1) ::kill(child->pid, SIGKILL);
  while (!reap(*child)) ::poll(&ended, 1, kLauncherWaitMs);
  if (!hello) return fail(Errc::unavailable, "the launcher did not introduce itself");
  return *hello;
}

Control check_attributes(int file) {
  if (::fsetxattr(file, "user.millrace.check", "1", 1, 0) == 0) return control("attributes", ControlState::real, "");
  return control("attributes", ControlState::missing,
                 "user.* attributes do not work here: outputs cannot be told from users' files");
}

Control check_exchange(int directory) {
  if (::renameat2(directory, "a", directory, "b", RENAME_EXCHANGE) == 0) {
    return control("exchange_names", ControlState::real, "");
  }
  return control(
      "exchange_names", ControlState::missing,
      "names cannot be exchanged: a worker that pauses while placing may put an older result over a later one");
}

Control check_reflink(int directory) {
  const Fd from(::openat(directory, "a", O_RDONLY | O_CLOEXEC));
  const Fd to(::openat(directory, "b", O_WRONLY | O_CLOEXEC));
  if (::ioctl(to.get(), FICLONE, from.get()) == 0) return control("reflink", ControlState::real, "");
  return control("reflink", ControlState::emulated, "no reflinks: small outputs are copied, large ones hard-linked");
}

Control check_space(const std::string& directory) {
  struct statvfs space{};
  if (::statvfs(directory.c_str(), &space) != 0) {
    return control("free_space", ControlState::missing, error_from_errno(errno, directory).message);
  }
  const std::uint64_t free = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
  const std::uint64_t rounded = free >> 20 << 20;
  return control("free_space", free >= kFreeBytesWanted ? ControlState::real : ControlState::missing,
                 format_bytes(rounded) + " free at " + directory);
}

// Who may write into one of these directories chooses what functions may read.
Control check_images(const Config& config) {
  if (config.image_directories.empty()) {
    return control("images", ControlState::emulated,
                   "image: host only; list directories in image_directories for images of rootfs:/path");
  }
  std::string list;
  for (const auto& directory : config.image_directories) {
    struct stat status{};
    if (::stat(directory.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)) {
      return control("images", ControlState::missing, directory + " of image_directories is no directory");
    }
    if (const auto real = check_real_name("image_directories", directory); !real) {
      return control("images", ControlState::missing, real.error().message);
    }
    if ((status.st_mode & 0022) != 0) {
      return control("images", ControlState::missing,
                     directory + " of image_directories may be written by others; chmod go-w it");
    }
    list += (list.empty() ? "" : ", ") + directory;
  }
  return control("images", ControlState::real, "image: host, and rootfs:/path below " + list);
}

Control check_shown(const Config& config) {
  if (const auto good = check_host_image_paths(config); !good) {
    return control("host_image", ControlState::missing, good.error().message);
  }
  std::string text = "functions see /usr, /etc and /opt";
  const auto add = [&text](std::string_view word, const std::vector<std::string>& paths) {
    for (const auto& path : paths) text += (&path == &paths.front() ? std::string(word) : ", ") + path;
  };
  add(", besides ", config.host_image_show);
  add("; not ", config.host_image_hide);
  return control("host_image", ControlState::real, text);
}

Control check_state(const Config& config) {
  if (config.state.empty()) return control("state", ControlState::real, "SQLite in the data directory");
#ifdef MILLRACE_WITH_POSTGRES
  const auto found = check_postgres(config.state);
  return found ? control("state", ControlState::real, *found)
               : control("state", ControlState::missing, found.error().message);
#else
  return control("state", ControlState::missing, "this millrace was built without PostgreSQL");
#endif
}

Control check_durability(const Config& config) {
  const auto found = check_broker(config);
  return found ? control("durability", ControlState::real, *found)
               : control("durability", ControlState::missing, found.error().message);
}

// The nearest directory above that exists.
std::string existing_part(std::string path) {
  while (path.size() > 1 && ::access(path.c_str(), F_OK) != 0) path.erase(std::max<std::size_t>(path.rfind('/'), 1));
  return path;
}

// Buckets that lie elsewhere: what files can do is told of there.
void check_buckets(const std::string& directory, std::vector<Control>& controls) {
  std::erase_if(controls, [](const Control& control) {
    return control.name == "attributes" || control.name == "exchange_names" || control.name == "reflink";
  });
  for (auto& found : check_file_system(existing_part(directory))) {
    if (found.name == "data_directory") found.name = "bucket_directory";
    if (found.name == "free_space") found.name = "bucket_space";
    controls.push_back(std::move(found));
  }
}

}  // namespace

Result<void> check_real_name(std::string_view option, const std::string& path) {
  const std::string there = existing_part(path);
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(there.c_str(), nullptr), &std::free);
  if (!real || there == real.get()) return {};
  return fail(Errc::failed_precondition, std::string(option) + ": '" + there + "' is another name of '" + real.get() +
                                             "'; write that one, since it is known by where it really lies");
}

std::vector<Control> check_file_system(const std::string& directory) {
  std::vector<Control> controls;
  std::string scratch = directory + "/.millrace-check-XXXXXX";
  if (::mkdtemp(scratch.data()) == nullptr) {
    controls.push_back(
        control("data_directory", ControlState::missing,
                error_from_errno(errno, "write to " + directory).message + "; choose another with --data"));
    return controls;
  }
  controls.push_back(control("data_directory", ControlState::real, directory));
  // The daemon's user may own what is around it: a link put in its place must not be followed.
  const Fd folder(::open(scratch.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  const Fd one(::openat(folder.get(), "a", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const Fd other(::openat(folder.get(), "b", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  controls.push_back(check_attributes(one.get()));
  controls.push_back(check_exchange(folder.get()));
  controls.push_back(check_reflink(folder.get()));
  controls.push_back(check_space(directory));
  ::unlinkat(folder.get(), "a", 0);
  ::unlinkat(folder.get(), "b", 0);
  ::rmdir(scratch.c_str());
  return controls;
}

std::vector<Control> check_host(const Config& config) {
  const auto hello = ask_launcher(config);
  const bool isolated = hello && launched::missing_isolation(*hello).empty();
  std::vector<Control> controls{check_kernel(), check_user(config, isolated)};
  if (hello) {
    for (auto& found : launched::controls_of(*hello, ExecutorKind::container)) controls.push_back(std::move(found));
  } else {
    controls.push_back(control("launcher", ControlState::missing, hello.error().message));
  }
  controls.push_back(check_images(config));
  controls.push_back(check_shown(config));
  controls.push_back(check_state(config));
  controls.push_back(check_durability(config));
  for (auto& found : check_file_system(existing_part(config.data))) controls.push_back(std::move(found));
  if (!config.bucket_directory.empty()) check_buckets(config.bucket_directory, controls);
  return controls;
}

}  // namespace millrace
