// The system calls of the launcher that have no C library wrapper or want a shorter one. All return what the kernel
// does: a value, or -1 with errno; owners wrap descriptors in Fd.
#pragma once

#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "core/fd.h"

namespace millrace::launcher {

[[nodiscard]] constexpr std::uint64_t microseconds_of(const timespec& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(time.tv_nsec) / 1000;
}
[[nodiscard]] std::uint64_t monotonic_us();

// Writes a small control file of /proc or cgroupfs in one write.
bool write_file(int directory, const char* name, std::string_view text);
// The first `bytes_max` bytes of a small file; nullopt with errno if it cannot be read.
[[nodiscard]] std::optional<std::string> read_file(int directory, const char* name, std::size_t bytes_max = 4096);
// The number that a file holds ("max" and failures: nullopt), or that follows `key ` at the start of one of its lines.
[[nodiscard]] std::optional<std::uint64_t> read_number(int directory, const char* name);
[[nodiscard]] std::optional<std::uint64_t> read_keyed_number(int directory, const char* name, std::string_view key);

// A control file that is read for every run stays open: the kernel makes its text anew for each read at offset 0. Empty
// if it cannot be read.
[[nodiscard]] std::string_view read_open_file(const Fd& fd, std::span<char> buffer);

// The same of a text that was read already.
[[nodiscard]] std::optional<std::uint64_t> parse_number(std::string_view text);
[[nodiscard]] std::optional<std::uint64_t> keyed_number(std::string_view text, std::string_view key);

[[nodiscard]] Fd open_directory(int directory, const char* path);

bool signal_process(int pidfd, int signal);

// Takes back an inherited promise that this process is never killed for memory: whoever runs code of functions, or
// packets of theirs, must be. Does nothing where there is none.
void be_killable_for_memory();

// Mounts by descriptor (Linux 5.12 and later). `attributes` are MOUNT_ATTR_*; user_namespace -1: no id mapping.
[[nodiscard]] Fd clone_mount(int fd);
[[nodiscard]] bool set_mount_attributes(int mount, std::uint64_t attributes, int user_namespace = -1);
[[nodiscard]] bool attach_mount(int mount, int directory, const char* path);
// A detached mount of a new file system; a null value makes the option a flag.
[[nodiscard]] Fd make_mount(const char* type, std::initializer_list<std::pair<const char*, const char*>> options,
                            unsigned attributes);

// `text`: strerror of errno. Makes "<what>: <reason>".
[[nodiscard]] std::string explain(std::string_view what, int error_number);

// Reaps every child that has ended, and empties `signals`, a signalfd that does not block.
// visit(pid_t, int status, const rusage& used).
template <class Visit>
void reap_ended(const Fd& signals, const Visit& visit) {
  signalfd_siginfo discarded{};
  while (::read(signals.get(), &discarded, sizeof(discarded)) > 0) {
  }
  for (;;) {
    int status = 0;
    rusage used{};
    const pid_t pid = ::wait4(-1, &status, WNOHANG, &used);
    if (pid <= 0) return;
    visit(pid, status, used);
  }
}

}  // namespace millrace::launcher
