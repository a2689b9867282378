#include "runtime/launcher/system.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <span>

namespace millrace::launcher {
namespace {

// A control file comes whole in one read; empty on failure.
std::string_view read_control_file(int directory, const char* name, std::span<char> buffer) {
  const Fd fd(::openat(directory, name, O_RDONLY | O_CLOEXEC));
  if (!fd) return {};
  const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
  return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
}

}  // namespace

std::uint64_t monotonic_us() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return microseconds_of(now);
}

bool write_file(int directory, const char* name, std::string_view text) {
  const Fd fd(::openat(directory, name, O_WRONLY | O_CLOEXEC));
  if (!fd) return false;
  return ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

std::optional<std::string> read_file(int directory, const char* name, std::size_t bytes_max) {
  const Fd fd(::openat(directory, name, O_RDONLY | O_CLOEXEC));
  if (!fd) return std::nullopt;
  std::string bytes(bytes_max, '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = ::read(fd.get(), bytes.data() + have, bytes.size() - have);
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end == text.data()) return std::nullopt;
  return value;
}

std::optional<std::uint64_t> keyed_number(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    if (line.size() > key.size() && line.starts_with(key) && line[key.size()] == ' ') {
      return parse_number(line.substr(key.size() + 1));
    }
    text.remove_prefix(std::min(text.size(), line.size() + 1));
  }
  return std::nullopt;
}

std::optional<std::uint64_t> read_number(int directory, const char* name) {
  std::array<char, 64> buffer{};
  return parse_number(read_control_file(directory, name, buffer));
}

std::optional<std::uint64_t> read_keyed_number(int directory, const char* name, std::string_view key) {
  std::array<char, 4096> buffer{};
  return keyed_number(read_control_file(directory, name, buffer), key);
}

Fd open_directory(int directory, const char* path) {
  return Fd(::openat(directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
}

void be_killable_for_memory() {
  const auto score = read_file(AT_FDCWD, "/proc/self/oom_score_adj");
  if (score && score->starts_with('-')) write_file(AT_FDCWD, "/proc/self/oom_score_adj", "0");
}

std::string_view read_open_file(const Fd& fd, std::span<char> buffer) {
  if (!fd) return {};
  const ssize_t got = ::pread(fd.get(), buffer.data(), buffer.size(), 0);
  return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
}

bool signal_process(int pidfd, int signal) {
  return ::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0) == 0;
}

Fd clone_mount(int fd) {
  return Fd(static_cast<int>(::syscall(SYS_open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH)));
}

bool set_mount_attributes(int mount, std::uint64_t attributes, int user_namespace) {
  mount_attr wanted{};
  wanted.attr_set = attributes;
  if (user_namespace >= 0) {
    wanted.attr_set |= MOUNT_ATTR_IDMAP;
    wanted.userns_fd = static_cast<std::uint64_t>(user_namespace);
  }
  return ::syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH, &wanted, sizeof(wanted)) == 0;
}

bool attach_mount(int mount, int directory, const char* path) {
  return ::syscall(SYS_move_mount, mount, "", directory, path, MOVE_MOUNT_F_EMPTY_PATH) == 0;
}

Fd make_mount(const char* type, std::initializer_list<std::pair<const char*, const char*>> options,
              unsigned attributes) {
  const Fd context(static_cast<int>(::syscall(SYS_fsopen, type, FSOPEN_CLOEXEC)));
  if (!context) return {};
  for (const auto& [key, value] : options) {
    const auto command = value == nullptr ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;
    if (::syscall(SYS_fsconfig, context.get(), command, key, value, 0) < 0) return {};
  }
  if (::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) return {};
  return Fd(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, attributes)));
}

std::string explain(std::string_view what, int error_number) {
  std::string text(what);
  text += ": ";
  text += ::strerrordesc_np(error_number) != nullptr ? ::strerrordesc_np(error_number) : "unknown error";
  return text;
}

}  // namespace millrace::launcher
