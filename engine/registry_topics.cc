// Topics that go: only those that no function needs.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "engine/registry.h"

namespace millrace {
namespace {

Result<void> check_unneeded(const std::vector<std::shared_ptr<const FunctionSpec>>& functions,
                            const std::string& topic) {
  std::string readers;
  for (const auto& function : functions) {
    if (work_topic(function->name) == topic) {
      return fail(Errc::failed_precondition, "'" + topic + "' is the work topic of function '" + function->name +
                                                 "'; it can be removed when the function is: `millrace rm " +
                                                 function->name + "`");
    }
    if (std::ranges::find(function->topics, topic, &TopicInputSpec::topic) == function->topics.end()) continue;
    readers += (readers.empty() ? "'" : ", '") + function->name + "'";
  }
  if (readers.empty()) return {};
  return fail(Errc::failed_precondition,
              "topic '" + topic + "' is read by " + readers + "; take it out of their `topics`, or remove them, first");
}

}  // namespace

// While this has its turn, nobody here makes the topic a function's. A function that another node applies meanwhile is
// taken over afterwards, and what it needs is made then.
Task<Result<void>> Registry::remove_topic(std::string topic) {
  const auto turn = co_await changes_.acquire(1);
  if (shared_) {
    const auto current = co_await take_stored();
    if (!current) co_return fail(current.error());
  }
  if (auto unneeded = check_unneeded(all(), topic); !unneeded) co_return unneeded;
  auto removed = co_await broker_.remove_topic(std::move(topic));
  co_return removed;
}

}  // namespace millrace
