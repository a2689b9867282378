// The two drivers behind make_group_driver(); an error says why this one is of no use here.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/error.h"
#include "runtime/launcher/cgroup.h"
#include "runtime/launcher/cgroup_mounts.h"

namespace millrace::launcher {

[[nodiscard]] Result<std::unique_ptr<GroupDriver>> make_driver_v1(const CgroupMounts& mounts, const std::string& prefix,
                                                                  std::uint32_t template_uid);
[[nodiscard]] Result<std::unique_ptr<GroupDriver>> make_driver_v2(const CgroupMounts& mounts, const std::string& prefix,
                                                                  std::uint32_t template_uid);

}  // namespace millrace::launcher
