// The probe: tries everything in its table, each attempt in a child of its own, and prints a line for each:
//   <id> held|absent|allowed|LEAK <what came back> <what was tried>
// Exit status 1 if anything leaked. `--list` prints the table as a document; `--compat`, `--own-root` and `--private`
// tell what is meant to be possible here, `--no-bounds` leaves out what would fill a machine.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "tests/probe/attempts.h"

namespace millrace::probe {
namespace {

constexpr unsigned kSecondsMax = 10;  // of one attempt, a guard

constexpr std::array kFamilies{&descriptor_attempts, &mount_attempts,  &proc_attempts, &namespace_attempts,
                               &privilege_attempts,  &device_attempts, &other_attempts};

std::string error_name(int error) {
  const char* name = ::strerrorname_np(error);
  return name != nullptr ? name : std::to_string(error);
}

std::string shown(long result) {
  if (result == kKilled) return "killed";
  return result >= 0 ? "done" : error_name(static_cast<int>(-result));
}

// In a child: an attempt that succeeds may leave the process in any state.
long attempt_in_child(const Row& row, volatile long* result) {
  *result = kKilled;
  const pid_t child = ::fork();
  if (child < 0) return -errno;
  if (child == 0) {
    ::alarm(kSecondsMax);
    *result = row.attempt();
    ::_exit(0);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return *result;
}

struct Expectation {
  bool compat = false;
  bool own_root = false;
  bool outbound = false;
  bool bounds = true;  // false: nothing bounds us here, so family H would fill the machine
};

std::string_view verdict(const Row& row, long result, const Expectation& where) {
  if (result == kKilled) return "held";
  const bool meant = (row.allowed == Allowed::compat && where.compat) ||
                     (row.allowed == Allowed::own_root && where.own_root) ||
                     (row.allowed == Allowed::outbound && where.outbound);
  if (result >= 0) return meant ? "allowed" : "LEAK";
  const int error = static_cast<int>(-result);
  // Nobody may be there, outside.
  if (meant && (error == ETIMEDOUT || error == ECONNREFUSED)) return "allowed";
  if (std::ranges::find(row.held, error) != row.held.end()) return "held";
  return error == ENOSYS || error == ENOENT || error == ENODEV || error == ENOPROTOOPT ? "absent" : "LEAK";
}

int try_all(const Expectation& where) {
  auto* const result = static_cast<volatile long*>(
      ::mmap(nullptr, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  if (result == MAP_FAILED) return 2;
  int leaks = 0;
  int tried = 0;
  for (const auto& family : kFamilies) {
    for (const Row& row : family()) {
      if (!where.bounds && row.id.front() == 'H') continue;
      const long got = attempt_in_child(row, result);
      const auto said = verdict(row, got, where);
      if (said == "LEAK") ++leaks;
      ++tried;
      std::printf("%.*s %.*s %s %.*s\n", static_cast<int>(row.id.size()), row.id.data(), static_cast<int>(said.size()),
                  said.data(), shown(got).c_str(), static_cast<int>(row.what.size()), row.what.data());
      std::fflush(stdout);
    }
  }
  std::printf("tried %d, leaks %d\n", tried, leaks);
  return leaks == 0 ? 0 : 1;
}

const char* note_of(Allowed allowed) {
  switch (allowed) {
    case Allowed::nowhere: return "";
    case Allowed::compat: return "meant to be possible in `compat`";
    case Allowed::own_root: return "meant to be possible in a copy-on-write root";
    case Allowed::outbound: return "meant to be possible with `network: private`";
  }
  return "";
}

void list() {
  std::puts(
      "# What was tried\n\n"
      "Every attempt of the break-out probe (`tests/probe/`), which the test `BreakOut` runs inside real sandboxes of "
      "both\n"
      "profiles and of every kind of image: none may succeed. The column says with which error a sandbox that holds\n"
      "refuses; *killed*: the kernel ends the process. This page is made by `probe_attempts --list`, and a test "
      "compares\n"
      "the two.\n\n"
      "Families: A descriptors and working directory, B mounts and paths, C /proc and /sys, D namespaces and signals,\n"
      "E privilege, F devices and network, G control groups, H exhaustion, I results, J what others left.\n\n"
      "| id | what is tried | held by | |\n| --- | --- | --- | --- |");
  for (const auto& family : kFamilies) {
    for (const Row& row : family()) {
      std::string errors;
      for (const int error : row.held) {
        if (error != 0) errors += (errors.empty() ? "" : ", ") + error_name(error);
      }
      std::printf("| %.*s | %.*s | %s | %s |\n", static_cast<int>(row.id.size()), row.id.data(),
                  static_cast<int>(row.what.size()), row.what.data(), errors.empty() ? "killed" : errors.c_str(),
                  note_of(row.allowed));
    }
  }
}

}  // namespace
}  // namespace millrace::probe

int main(int argc, char** argv) {
  using namespace std::string_view_literals;
  const std::string_view first = argc > 1 ? argv[1] : "";
  if (first == "--list"sv) {
    millrace::probe::list();
    return 0;
  }
  millrace::probe::Expectation where;
  for (int i = 1; i < argc; ++i) {
    where.compat = where.compat || argv[i] == "--compat"sv;
    where.own_root = where.own_root || argv[i] == "--own-root"sv;
    where.outbound = where.outbound || argv[i] == "--private"sv;
    where.bounds = where.bounds && argv[i] != "--no-bounds"sv;
  }
  return millrace::probe::try_all(where);
}
