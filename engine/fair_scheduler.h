// The fair scheduler: which functions may ask the broker for how much. Functions with a backlog take turns by weighted
// deficit round robin: each turn is worth a share of the node, so many events of a small function or one of a large
// one, times the function's weight. Nobody asks for more than the node can hold, so the rest of a flood stays in the
// broker. A function whose runs find no room again and again while others are served asks all the same: its event then
// waits at the head of the admission's queue, and the node empties for it.
//
// Pure but for the turn it remembers. Threads: the domain loop.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/function_spec.h"
#include "engine/admission.h"

namespace millrace {

struct Demand {
  std::shared_ptr<const FunctionSpec> function;
  std::uint64_t pending = 0;      // deliverable messages
  std::uint32_t outstanding = 0;  // credit granted and not used yet
};

class FairScheduler {
 public:
  // Credit to grant now, by function name. The demands' order does not matter.
  [[nodiscard]] std::map<std::string, std::uint32_t> share(std::vector<Demand> demands, const Admission& admission);

 private:
  // How often a function was passed over in a row because the node had no room for it while others were served.
  std::map<std::string, std::uint32_t> passed_over_;
  std::map<std::string, std::uint64_t> deficits_;  // what is left of a function's turn, of those with a backlog
  std::string turn_;                               // whose turn it is
  std::string last_filler_;                        // who was served last in a gap that the turn left
};

}  // namespace millrace
