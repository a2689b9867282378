// G: control groups. H, I, J: what can be tried from the inside; the rest needs somebody who looks from the outside.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "tests/probe/attempts.h"

namespace millrace::probe {
namespace {

// Every line of /proc/self/cgroup ends with the path, which must be that of a namespace's root.
long see_own_group() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (!line.ends_with(":/")) return 0;
  }
  return -ENOENT;
}

long mount_groups(const char* type, const char* options) {
  return answer(::mount("cgroup", "/tmp", type, 0, options));
}

template <int Resource>
long exceed_descriptors() {
  rlimit limit{};
  ::getrlimit(static_cast<__rlimit_resource_t>(Resource), &limit);
  for (rlim_t i = 0; i <= limit.rlim_max; ++i) {
    if (::fcntl(0, F_DUPFD, 0) < 0) return answer(-1);
  }
  return 0;
}

long fill(const char* path) {
  const int fd = ::open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return answer(fd);
  const std::vector<char> block(1 << 20, 'x');
  long result = 0;
  for (int i = 0; i < 1024 && result >= 0; ++i) result = answer(::write(fd, block.data(), block.size()));
  ::unlink(path);
  return result;
}

long exhaust_inodes() {
  for (int i = 0; i < 1'000'000; ++i) {
    const int fd = ::open(("/tmp/i" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0) {
      const long result = answer(fd);
      for (int j = 0; j < i; ++j) ::unlink(("/tmp/i" + std::to_string(j)).c_str());
      return result;
    }
    ::close(fd);
  }
  return 0;
}

long left_behind(const char* path) {
  struct stat status{};
  return answer(::stat(path, &status));
}

// The ipc namespace is new with every run, so the first key that anybody may have used is free.
long shared_memory_of_others() {
  return answer(::shmget(0x6d72, 4096, 0600));
}

constexpr std::array kRows{
    Row{"G01", "see the name of one's control group", see_own_group, {ENOENT}},
    Row{"G02", "mount a v1 hierarchy", [] { return mount_groups("cgroup", "memory"); }, {EPERM}},
    Row{"G03", "mount the v2 hierarchy", [] { return mount_groups("cgroup2", nullptr); }, {EPERM}},
    Row{"G04",
        "leave the group by cgroup.procs",
        [] { return try_write("/sys/fs/cgroup/cgroup.procs", "0"); },
        {EACCES, ENOENT, EROFS}},
    Row{"G05",
        "leave the memory group",
        [] { return try_write("/sys/fs/cgroup/memory/tasks", "0"); },
        {EACCES, ENOENT, EROFS}},
    Row{"G06",
        "run a program of the host by release_agent",
        [] { return try_write("/sys/fs/cgroup/memory/release_agent", "/tmp/x"); },
        {EACCES, ENOENT, EROFS}},
    Row{"G07",
        "raise one's own memory limit",
        [] { return try_write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1"); },
        {EACCES, ENOENT, EROFS}},
    Row{"G08",
        "raise one's own memory limit (v2)",
        [] { return try_write("/sys/fs/cgroup/memory.max", "max"); },
        {EACCES, ENOENT, EROFS}},
    Row{"H01", "open more descriptors than allowed", exceed_descriptors<RLIMIT_NOFILE>, {EMFILE}},
    Row{"H02", "fill /tmp beyond its size", [] { return fill("/tmp/fill"); }, {ENOSPC, EFBIG, ENOMEM}},
    Row{"H03", "fill /dev/shm beyond its size", [] { return fill("/dev/shm/fill"); }, {ENOSPC, EFBIG, ENOMEM}},
    Row{"H04", "make a million files in /tmp", exhaust_inodes, {ENOSPC}},
    Row{"I01",
        "link an input into the outputs",
        [] { return answer(::link("/tmp/in/probe", "/tmp/out/link")); },
        {EXDEV, EPERM, ENOENT}},
    Row{"I02", "write an input", [] { return try_open("/tmp/in/probe", O_WRONLY); }, {EROFS, EACCES, ENOENT, ETXTBSY}},
    Row{"I03", "remove an input", [] { return answer(::unlink("/tmp/in/probe")); }, {EACCES, EBUSY, EROFS, ENOENT}},
    Row{"I04",
        "make the script writable",
        [] { return answer(::chmod("/oscar/config/script.sh", 0777)); },
        {EROFS, EPERM, ENOENT},
        Allowed::own_root},
    Row{"J01",
        "find a file that the run before left in /tmp",
        [] { return left_behind("/tmp/left-by-the-probe"); },
        {ENOENT}},
    Row{"J02",
        "find a file that the run before left in /dev/shm",
        [] { return left_behind("/dev/shm/left-by-the-probe"); },
        {ENOENT}},
    Row{"J03", "find shared memory of the run before", shared_memory_of_others, {ENOENT}},
    Row{"J04",
        "find what the run before wrote into its root",
        [] { return left_behind("/bin/left-by-the-probe"); },
        {ENOENT}},
};

}  // namespace

std::span<const Row> other_attempts() {
  return kRows;
}

}  // namespace millrace::probe
