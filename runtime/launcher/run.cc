#include "runtime/launcher/run.h"

#include <algorithm>

#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

constexpr std::uint64_t kBlockBytes = 512;  // of ru_inblock and ru_oublock

std::uint64_t us_of(const timeval& time) {
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(time.tv_usec);
}

std::uint64_t unsigned_of(long value) {
  return static_cast<std::uint64_t>(std::max(value, 0L));
}

void add_group(Usage& usage, const GroupUsage& group) {
  usage.cpu_us = std::max(usage.cpu_us, group.cpu_us);
  usage.memory_peak_bytes = group.memory_peak_bytes;
  usage.throttled_us = group.throttled_us;
}

}  // namespace

Usage usage_of(const rusage& used) {
  return {.cpu_us = us_of(used.ru_utime) + us_of(used.ru_stime),
          .rss_peak_bytes = unsigned_of(used.ru_maxrss) * 1024,
          .io_read_bytes = unsigned_of(used.ru_inblock) * kBlockBytes,
          .io_write_bytes = unsigned_of(used.ru_oublock) * kBlockBytes};
}

Exited complete(const Run& run, Exited report) {
  report.usage.start_us = run.start_us;
  report.usage.wall_us = monotonic_us() - run.received_us - run.start_us;
  if (run.group == nullptr) return report;
  const GroupUsage group = run.group->usage();
  add_group(report.usage, group);
  report.out_of_memory = group.out_of_memory_kills != 0;
  return report;
}

Usage usage_so_far(const Run& run) {
  Usage usage{.start_us = run.start_us};
  if (run.group != nullptr) add_group(usage, run.group->usage());
  return usage;
}

bool look_for_memory_kill(Run& run) {
  if (run.memory_looks == 0) return false;
  --run.memory_looks;
  if (run.group == nullptr || run.group->usage().out_of_memory_kills == 0) return false;
  run.memory_looks = 0;
  return true;
}

}  // namespace millrace::launcher
