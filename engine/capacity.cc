#include "engine/capacity.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "core/units.h"
#include "engine/nodes.h"

namespace millrace {
namespace {

struct Demand {
  std::string_view option;  // of a node, that bounds it
  std::string field;        // "memory: 8Gi"
  std::uint64_t amount;
  std::uint64_t NodeRow::* offer;
  std::string (*shown)(std::uint64_t);
  bool by_author;
  std::string_view there;  // what becomes of a run on a node that has less
};

constexpr std::string_view kAlone = "there it runs alone and may not get all of it";
constexpr std::string_view kNoMore = "there a run gets no more than that";

// A share of a machine's memory is an odd number of bytes.
std::string shown_memory(std::uint64_t bytes) {
  constexpr std::uint64_t kMebibyte = 1 << 20;
  return format_bytes(bytes < kMebibyte ? bytes : bytes / kMebibyte * kMebibyte);
}

std::string shown_cpu(std::uint64_t millicores) {
  return format_millicores(static_cast<std::uint32_t>(millicores));
}

std::vector<Demand> demands_of(const FunctionSpec& function) {
  const auto memory = [](std::string_view field, std::uint64_t bytes, bool by_author, std::string_view there) {
    return Demand{.option = "memory",
                  .field = std::string(field) + ": " + format_bytes(bytes),
                  .amount = bytes,
                  .offer = &NodeRow::memory_bytes,
                  .shown = shown_memory,
                  .by_author = by_author,
                  .there = there};
  };
  const auto cpu = [](std::string_view field, std::uint32_t millicores, bool by_author, std::string_view there) {
    return Demand{.option = "cpu",
                  .field = std::string(field) + ": " + format_millicores(millicores),
                  .amount = millicores,
                  .offer = &NodeRow::cpu_millicores,
                  .shown = shown_cpu,
                  .by_author = by_author,
                  .there = there};
  };
  const LimitsSpec& limits = function.limits;
  return {memory("memory", function.memory_bytes, function.memory_explicit, kAlone),
          cpu("cpu", function.cpu_millicores, function.cpu_explicit(), kAlone),
          // A limit that nothing can reach is none.
          cpu("limits.cpu", limits.cpu_millicores, limits.cpu_millicores > 0, kNoMore),
          memory("limits.scratch", limits.scratch_bytes, limits.scratch_bytes != LimitsSpec{}.scratch_bytes, kNoMore)};
}

std::vector<const NodeRow*> workers_of(const std::vector<NodeRow>& nodes) {
  std::vector<const NodeRow*> workers;
  for (const auto& node : nodes) {
    if (node.alive && has_role(node.roles, "worker")) workers.push_back(&node);
  }
  return workers;
}

std::string offer_of(const NodeRow& node, const Demand& demand) {
  return demand.shown(node.*demand.offer) + " on node '" + node.name + "'";
}

}  // namespace

Result<std::vector<std::string>> check_capacity(const FunctionSpec& function, const std::vector<NodeRow>& nodes) {
  const auto workers = workers_of(nodes);
  std::vector<std::string> warnings;
  for (const Demand& demand : demands_of(function)) {
    if (workers.empty()) {
      if (demand.by_author) warnings.push_back(demand.field + " is not checked: no node that runs functions is there");
      continue;
    }
    const auto less = [&demand](const NodeRow* a, const NodeRow* b) { return a->*demand.offer < b->*demand.offer; };
    const NodeRow& least = **std::ranges::min_element(workers, less);
    const NodeRow& most = **std::ranges::max_element(workers, less);
    if (demand.amount <= least.*demand.offer) continue;
    if (demand.amount <= most.*demand.offer) {
      warnings.push_back(demand.field + " is more than some nodes have for functions: the least is " +
                         offer_of(least, demand) + "; " + std::string(demand.there));
      continue;
    }
    const std::string lack = " is more than any node has for functions: the most is " + offer_of(most, demand);
    if (demand.by_author) {
      return fail(Errc::invalid_argument, demand.field + lack + "; lower it, or raise the option " +
                                              std::string(demand.option) + " of that node");
    }
    warnings.push_back(demand.field + " (default)" + lack + "; " + std::string(demand.there));
  }
  return warnings;
}

}  // namespace millrace
