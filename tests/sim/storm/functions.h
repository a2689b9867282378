// The functions of the simulation: what each does with an input follows from the input's name, so that what must come
// of it is known beforehand. A node's executor sees that the node keeps its limits.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "async/sleep.h"
#include "engine/admission.h"
#include "runtime/executor.h"
#include "tests/sim/storm/wire.h"
#include "tests/support/fake_storage.h"

namespace millrace::storm {

// What an input does to its function.
enum class Kind : std::uint8_t {
  fine,
  slow,       // longer than a lease
  flaky,      // fails, then succeeds
  fails,      // always
  permanent,  // exit code 65
  too_much,   // out of memory
  vanishes,   // its launcher dies a few times
  no_start,   // cannot be started a few times
  poison,     // takes the whole node along, always
  gone,       // the user takes it away
  cancelled,  // the user cancels its run
  count
};
[[nodiscard]] const char* name_of(Kind kind);
[[nodiscard]] std::string key_of(Kind kind, int number);
[[nodiscard]] Kind kind_of(const std::string& key);

// Every execution there was.
struct Done {
  std::string life;
  std::string function;
  RunId run_id;
  AttemptToken token;
  std::optional<AttemptOutcome> outcome;  // none: it never ended
};

// Shared by the executors of all lives.
struct Workshop {
  std::vector<Done> executions;
  std::map<RunId, int> times;  // executions of a run
  std::function<void(Life&)> kill;
  std::vector<std::string> violations;
};

class NodeFunctions final : public Executor {
 public:
  NodeFunctions(std::shared_ptr<Life> life, Workshop& workshop, FakeStorage& storage, NodeBudget budget)
      : life_(std::move(life)), workshop_(workshop), storage_(storage), budget_(budget) {}

  std::vector<Control> controls() const override { return {}; }
  Task<Result<std::vector<std::string>>> check(std::shared_ptr<const FunctionSpec>) override {
    co_return std::vector<std::string>{};
  }
  Task<Result<Execution>> run(ExecutionRequest request, std::stop_token stop) override;
  void forget(const FunctionUid&, std::uint64_t) override {}

 private:
  class Running;
  Result<Execution> end(const ExecutionRequest& request, Kind kind, int nth);

  std::shared_ptr<Life> life_;
  Workshop& workshop_;
  FakeStorage& storage_;
  NodeBudget budget_;
  std::multiset<std::string> running_;
  std::uint64_t memory_bytes_ = 0;
  std::uint64_t cpu_millicores_ = 0;
};

}  // namespace millrace::storm
