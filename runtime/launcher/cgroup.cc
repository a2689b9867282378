#include "runtime/launcher/cgroup.h"

#include <algorithm>
#include <utility>

#include "runtime/launcher/cgroup_drivers.h"
#include "runtime/launcher/cgroup_mounts.h"

namespace millrace::launcher {
namespace {

class NoGroups final : public GroupDriver {
 public:
  explicit NoGroups(std::string reason) : reason_(std::move(reason)) {}

  [[nodiscard]] ControlState state(Control) const override { return {.support = Support::missing, .reason = reason_}; }
  [[nodiscard]] int templates_group() const override { return -1; }
  [[nodiscard]] Result<std::unique_ptr<Group>> acquire(const Limits&) override { return nullptr; }
  void release(std::unique_ptr<Group>) override {}
  bool tidy() override { return false; }
  void remove_all() override {}

 private:
  std::string reason_;
};

std::uint64_t or_one_core(std::uint32_t millicores) {
  return millicores == 0 ? 1000 : millicores;
}

}  // namespace

std::uint64_t cpu_shares_of(std::uint32_t weight_millicores) {
  return std::clamp<std::uint64_t>(or_one_core(weight_millicores) * 1024 / 1000, 2, 262'144);
}

std::uint64_t cpu_weight_of(std::uint32_t weight_millicores) {
  return std::clamp<std::uint64_t>(or_one_core(weight_millicores) / 10, 1, 10'000);
}

std::uint64_t cpu_quota_us_of(std::uint32_t quota_millicores) {
  return std::max<std::uint64_t>(std::uint64_t{quota_millicores} * kCpuPeriodUs / 1000, 1000);
}

std::unique_ptr<GroupDriver> make_group_driver(const std::string& prefix, std::uint32_t template_uid) {
  const CgroupMounts mounts = find_cgroup_mounts();
  const bool has_v1 = !mounts.cpu.empty() || !mounts.memory.empty() || !mounts.pids.empty();
  if (!has_v1 && mounts.v2.empty()) return std::make_unique<NoGroups>("no cgroup hierarchy is mounted");
  auto driver = has_v1 ? make_driver_v1(mounts, prefix, template_uid) : make_driver_v2(mounts, prefix, template_uid);
  if (!driver) return std::make_unique<NoGroups>(driver.error().message);
  return std::move(*driver);
}

}  // namespace millrace::launcher
