// Loaded with LD_PRELOAD: people's clock is off by the nanoseconds that the file MOVED_CLOCK_FILE holds, an int64 that
// may change at any time. The monotonic clock goes on as ever, as it does when an administrator sets a machine's clock.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <ctime>

namespace {

constexpr std::int64_t kSecondNs = 1'000'000'000;

const std::atomic<std::int64_t>* map_offset() {
  const char* path = std::getenv("MOVED_CLOCK_FILE");
  if (path == nullptr) return nullptr;
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) std::abort();  // a clock that does not move would prove nothing
  void* mapped = ::mmap(nullptr, sizeof(std::atomic<std::int64_t>), PROT_READ, MAP_SHARED, fd, 0);
  ::close(fd);
  if (mapped == MAP_FAILED) std::abort();
  return static_cast<const std::atomic<std::int64_t>*>(mapped);
}

std::int64_t offset_ns() {
  static const std::atomic<std::int64_t>* const kOffset = map_offset();
  return kOffset == nullptr ? 0 : kOffset->load(std::memory_order_relaxed);
}

void move(timespec& time) {
  const std::int64_t moved = time.tv_sec * kSecondNs + time.tv_nsec + offset_ns();
  time.tv_sec = moved / kSecondNs;
  time.tv_nsec = moved % kSecondNs;
}

}  // namespace

extern "C" int clock_gettime(clockid_t clock, timespec* time) noexcept {
  const auto answer = static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
  if (answer == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) move(*time);
  return answer;
}

extern "C" int gettimeofday(timeval* time, void* /*zone*/) noexcept {
  timespec now{};
  if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
  *time = {.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
  return 0;
}

extern "C" std::time_t time(std::time_t* into) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (into != nullptr) *into = now.tv_sec;
  return now.tv_sec;
}
