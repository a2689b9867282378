#include "engine/fair_scheduler.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr std::uint32_t kPassedOverMax = 16;

// What is left of the node while credit is handed out; mirrors Admission's arithmetic.
class Remaining {
 public:
  explicit Remaining(const Admission& admission)
      : admission_(admission), budget_(admission.budget()), free_(admission.free()) {}

  bool take(const FunctionSpec& function) {
    const auto memory = std::min(std::max<std::uint64_t>(function.memory_bytes, 1), budget_.memory_bytes);
    const auto cpu = std::min(std::max<std::uint32_t>(function.cpu_millicores, 1), budget_.cpu_millicores);
    std::uint32_t& granted = granted_[function.name];
    const bool full = function.concurrency != 0 && admission_.running(function.name) + granted >= function.concurrency;
    if (full || memory > free_.memory_bytes || cpu > free_.cpu_millicores) return false;
    free_.memory_bytes -= memory;
    free_.cpu_millicores -= cpu;
    ++granted;
    return true;
  }

 private:
  const Admission& admission_;
  NodeBudget budget_;
  NodeBudget free_;
  std::map<std::string, std::uint32_t> granted_;
};

}  // namespace

std::map<std::string, std::uint32_t> FairScheduler::share(std::vector<Demand> demands, const Admission& admission) {
  std::map<std::string, std::uint32_t> grants;
  std::ranges::sort(demands, {}, [](const Demand& demand) { return demand.function->name; });
  const auto next =
      std::ranges::upper_bound(demands, last_, {}, [](const Demand& demand) { return demand.function->name; });
  std::ranges::rotate(demands, next);

  // Credit that is out already will take its slots first.
  Remaining remaining(admission);
  for (auto& demand : demands) {
    const auto used = std::min<std::uint64_t>(demand.outstanding, demand.pending);
    for (std::uint64_t i = 0; i < used; ++i) (void)remaining.take(*demand.function);
    demand.pending -= used;
  }
  for (bool granted = true; granted;) {
    granted = false;
    for (auto& demand : demands) {
      if (demand.pending == 0 || !remaining.take(*demand.function)) continue;
      --demand.pending;
      ++grants[demand.function->name];
      last_ = demand.function->name;
      granted = true;
    }
  }
  std::map<std::string, std::uint32_t> passed_over;
  for (const auto& demand : demands) {
    const std::string& name = demand.function->name;
    const bool waits = demand.pending > 0 && demand.outstanding == 0 && !grants.contains(name);
    if (!waits || admission.at_own_limit(*demand.function)) continue;
    const auto before = passed_over_.find(name);
    const std::uint32_t times = (before == passed_over_.end() ? 0 : before->second) + (grants.empty() ? 0 : 1);
    if (times < kPassedOverMax) {
      passed_over.emplace(name, times);
    } else {
      grants[name] = 1;
    }
  }
  passed_over_ = std::move(passed_over);
  return grants;
}

}  // namespace millrace
