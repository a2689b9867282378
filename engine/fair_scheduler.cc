#include "engine/fair_scheduler.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr std::uint32_t kPassedOverMax = 16;
constexpr std::uint64_t kNodeCost = 1'000'000;

// The share of the node that a run takes, of kNodeCost: of memory or cpu, whichever is more.
std::uint64_t cost_of(const FunctionSpec& function, const NodeBudget& budget) {
  const auto part = [](std::uint64_t wanted, std::uint64_t whole) {
    const double share = static_cast<double>(wanted) / static_cast<double>(std::max<std::uint64_t>(whole, 1));
    return static_cast<std::uint64_t>(std::min(share, 1.0) * static_cast<double>(kNodeCost));
  };
  return std::max({part(function.memory_bytes, budget.memory_bytes),
                   part(function.cpu_millicores, budget.cpu_millicores), std::uint64_t{1}});
}

// What is left of the node while credit is handed out; mirrors Admission's arithmetic.
class Remaining {
 public:
  explicit Remaining(const Admission& admission)
      : admission_(admission), budget_(admission.budget()), free_(admission.free()) {}

  [[nodiscard]] bool at_own_limit(const FunctionSpec& function) const {
    const auto granted = granted_.find(function.name);
    const std::uint32_t more = granted == granted_.end() ? 0 : granted->second;
    return function.concurrency != 0 && admission_.running(function.name) + more >= function.concurrency;
  }
  [[nodiscard]] bool fits(const FunctionSpec& function) const {
    return !at_own_limit(function) && memory_of(function) <= free_.memory_bytes &&
           cpu_of(function) <= free_.cpu_millicores;
  }
  void take(const FunctionSpec& function) {
    free_.memory_bytes -= memory_of(function);
    free_.cpu_millicores -= cpu_of(function);
    ++granted_[function.name];
  }

 private:
  [[nodiscard]] std::uint64_t memory_of(const FunctionSpec& function) const {
    return std::min(std::max<std::uint64_t>(function.memory_bytes, 1), budget_.memory_bytes);
  }
  [[nodiscard]] std::uint32_t cpu_of(const FunctionSpec& function) const {
    return std::min(std::max<std::uint32_t>(function.cpu_millicores, 1), budget_.cpu_millicores);
  }

  const Admission& admission_;
  NodeBudget budget_;
  NodeBudget free_;
  std::map<std::string, std::uint32_t> granted_;
};

}  // namespace

std::map<std::string, std::uint32_t> FairScheduler::share(std::vector<Demand> demands, const Admission& admission) {
  std::map<std::string, std::uint32_t> grants;
  const auto name_of = [](const Demand& demand) -> const std::string& { return demand.function->name; };
  std::ranges::sort(demands, {}, name_of);

  // Credit that is out already will take its slots first.
  Remaining remaining(admission);
  std::uint64_t turn = 0;  // what a turn is worth to a function of weight 1: one event of the largest
  for (auto& demand : demands) {
    const auto used = std::min<std::uint64_t>(demand.outstanding, demand.pending);
    for (std::uint64_t i = 0; i < used && remaining.fits(*demand.function); ++i) remaining.take(*demand.function);
    demand.pending -= used;
    if (demand.pending > 0) turn = std::max(turn, cost_of(*demand.function, admission.budget()));
  }

  const auto grant = [&](Demand& demand) {
    remaining.take(*demand.function);
    --demand.pending;
    ++grants[name_of(demand)];
  };
  // Turns, by name, until one waits for room: it begins the next time.
  std::ranges::rotate(demands, std::ranges::lower_bound(demands, turn_, {}, name_of));
  for (std::size_t at = 0, idle = 0; idle < demands.size(); at = (at + 1) % demands.size()) {
    Demand& demand = demands[at];
    turn_ = name_of(demand);
    if (demand.pending == 0 || remaining.at_own_limit(*demand.function)) {
      ++idle;
      continue;
    }
    idle = 0;
    const std::uint64_t cost = cost_of(*demand.function, admission.budget());
    std::uint64_t& deficit = deficits_[turn_];
    if (deficit < cost) deficit += turn * std::max<std::uint32_t>(demand.function->weight, 1);
    for (; demand.pending > 0 && deficit >= cost && remaining.fits(*demand.function); deficit -= cost) grant(demand);
    const bool waits = demand.pending > 0 && deficit >= cost && !remaining.at_own_limit(*demand.function);
    if (waits) break;
  }
  // What is too little for it the others may have, one event each.
  std::ranges::sort(demands, {}, name_of);
  std::ranges::rotate(demands, std::ranges::upper_bound(demands, last_filler_, {}, name_of));
  for (bool granted = true; granted;) {
    granted = false;
    for (auto& demand : demands) {
      if (demand.pending == 0 || !remaining.fits(*demand.function)) continue;
      grant(demand);
      last_filler_ = name_of(demand);
      granted = true;
    }
  }
  // Who has nothing left to do saves nothing up.
  std::map<std::string, std::uint64_t> deficits;
  for (const auto& demand : demands) {
    if (demand.pending > 0) deficits[name_of(demand)] = deficits_[name_of(demand)];
  }
  deficits_ = std::move(deficits);
  std::map<std::string, std::uint32_t> passed_over;
  for (const auto& demand : demands) {
    const std::string& name = demand.function->name;
    const bool waits = demand.pending > 0 && demand.outstanding == 0 && !grants.contains(name);
    if (!waits || admission.at_own_limit(*demand.function)) continue;
    const auto before = passed_over_.find(name);
    // Where there was room for it, it only waits for its turn.
    const bool passed = !grants.empty() && admission.room(*demand.function) == 0;
    const std::uint32_t times = (before == passed_over_.end() ? 0 : before->second) + (passed ? 1 : 0);
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
