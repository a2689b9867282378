// What of /proc tells of the host or reaches into it.
#pragma once

#include <array>

namespace millrace::launcher {

// Covered in every container. What a kernel does not have is left out.
inline constexpr std::array kMaskedPaths{
    "/proc/kcore",      "/proc/keys",          "/proc/key-users", "/proc/timer_list", "/proc/sysrq-trigger",
    "/proc/config.gz",  "/proc/kallsyms",      "/proc/kmsg",      "/proc/cmdline",    "/proc/sched_debug",
    "/proc/interrupts", "/proc/latency_stats", "/proc/acpi",      "/proc/scsi"};

}  // namespace millrace::launcher
