#include "tests/sim/storm/functions.h"

#include <array>

#include "tests/support/fake_executor.h"

namespace millrace::storm {
namespace {

using namespace std::chrono_literals;

constexpr std::array kNames{"fine",     "slow",     "flaky",  "fails", "permanent", "too_much",
                            "vanishes", "no_start", "poison", "gone",  "cancelled"};
static_assert(kNames.size() == static_cast<std::size_t>(Kind::count));

}  // namespace

const char* name_of(Kind kind) {
  return kNames.at(static_cast<std::size_t>(kind));
}

std::string key_of(Kind kind, int number) {
  return std::string(name_of(kind)) + "-" + std::to_string(number);
}

Kind kind_of(const std::string& key) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (key.starts_with(std::string(kNames.at(i)) + "-")) return static_cast<Kind>(i);
  }
  return Kind::fine;
}

// Takes its share of the node for as long as the frame that holds it lives, also if the node dies.
class NodeFunctions::Running {
 public:
  Running(NodeFunctions& node, const FunctionSpec& function) : node_(node), function_(function) {
    const bool alone = node_.running_.empty();
    node_.running_.insert(function_.name);
    node_.memory_bytes_ += function_.memory_bytes;
    node_.cpu_millicores_ += function_.cpu_millicores;
    const bool over =
        node_.memory_bytes_ > node_.budget_.memory_bytes || node_.cpu_millicores_ > node_.budget_.cpu_millicores;
    if (over && !alone) complain("more than the node holds");
    if (function_.concurrency != 0 && node_.running_.count(function_.name) > function_.concurrency) {
      complain("more than its concurrency");
    }
  }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;
  ~Running() {
    node_.running_.erase(node_.running_.find(function_.name));
    node_.memory_bytes_ -= function_.memory_bytes;
    node_.cpu_millicores_ -= function_.cpu_millicores;
  }

 private:
  void complain(const char* what) {
    node_.workshop_.violations.push_back(node_.life_->name + " runs " + what + " of " + function_.name);
  }

  NodeFunctions& node_;
  const FunctionSpec& function_;
};

Task<Result<Execution>> NodeFunctions::run(ExecutionRequest request, std::stop_token stop) {
  const auto function = request.function;
  const Kind kind = kind_of(request.inputs.front().name);
  const int nth = ++workshop_.times[request.run_id];
  const std::size_t index = workshop_.executions.size();
  workshop_.executions.push_back({.life = life_->name,
                                  .function = function->name,
                                  .run_id = request.run_id,
                                  .token = AttemptToken(request.output_path.substr(request.output_path.rfind('/') + 1)),
                                  .outcome = {}});
  life_->sky.trace.note(life_->name + " runs " + function->name + " on " + request.inputs.front().name + " for the " +
                        std::to_string(nth) + "th time");
  const Running running(*this, *function);
  if (kind == Kind::poison) {
    workshop_.kill(*life_);
  }
  const auto takes = kind == Kind::slow        ? 70'000ms
                     : kind == Kind::cancelled ? 20'000ms
                                               : life_->sky.dice.up_to(2'000ms);
  const auto slept = co_await sleep_for(life_->loop, takes, stop);
  if (!slept) {
    workshop_.executions[index].outcome = AttemptOutcome::cancelled;
    co_return ended(AttemptOutcome::cancelled, "cancelled");
  }
  auto execution = end(request, kind, nth);
  if (execution) workshop_.executions[index].outcome = execution->outcome;
  co_return execution;
}

Result<Execution> NodeFunctions::end(const ExecutionRequest& request, Kind kind, int nth) {
  switch (kind) {
    case Kind::flaky:
      if (nth <= 2) return ended(AttemptOutcome::failed, "exit code 3", 3);
      break;
    case Kind::fails: return ended(AttemptOutcome::timed_out, "ran longer than 1s");
    case Kind::permanent: return ended(AttemptOutcome::failed, "exit code 65", 65);
    case Kind::too_much: return ended(AttemptOutcome::out_of_memory, "out of memory");
    case Kind::vanishes:
      if (nth <= 3) return ended(AttemptOutcome::lost, "the launcher died");
      break;
    case Kind::no_start:
      if (nth <= 3) return fail(Errc::unavailable, "no launcher");
      break;
    default: break;
  }
  storage_.leave(request.output_path, request.inputs.front().name);
  if (request.function->name == "first") storage_.leave(request.output_path, request.inputs.front().name + ".more");
  return ended(AttemptOutcome::succeeded);
}

}  // namespace millrace::storm
