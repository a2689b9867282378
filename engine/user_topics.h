// User topics: made when somebody first publishes on one, reads it, or asks for it; their bounds stay as they were set.
// A function that reads one has a group of its own there.
//
//   auto receipts = co_await topics.publish("orders", std::move(batch));
//   auto joined = co_await topics.join("invoice", {.topic = "orders"});
//
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "async/task.h"
#include "broker/broker.h"
#include "core/error.h"
#include "core/function_spec.h"

namespace millrace {

// Where events wait for a function: its work topic first, then the user topics that it reads.
struct WorkPlace {
  std::string topic;
  std::string group;

  auto operator<=>(const WorkPlace&) const = default;
};
[[nodiscard]] std::vector<WorkPlace> work_places(const FunctionSpec& function);

// What waits at all of them.
[[nodiscard]] Task<Result<Lag>> lag_of(Broker& broker, std::shared_ptr<const FunctionSpec> function);

// `invalid_argument` for what is no topic's name, and for work topics.
[[nodiscard]] Result<void> check_user_topic(std::string_view topic);

struct TopicBounds {
  std::vector<std::string> readers{};  // groups of others than functions, added to what is there
  std::optional<std::uint64_t> bytes_max;
  std::optional<std::uint64_t> messages_max;
};

class UserTopics {
 public:
  // `lease`: of deliveries of the topics that are made here.
  UserTopics(Broker& broker, std::chrono::milliseconds lease) : broker_(broker), lease_(lease) {}

  // Of the data of one message.
  [[nodiscard]] std::size_t message_bytes_max() const { return broker_.capabilities().message_bytes_max; }

  // Makes the topic if it is not there, and sets the bounds that are given. True: it was made.
  [[nodiscard]] Task<Result<bool>> make(std::string topic, TopicBounds bounds = {}) const;

  // As Broker::publish; a topic that is not there is made.
  [[nodiscard]] Task<std::vector<Result<Receipt>>> publish(std::string topic, std::vector<Outgoing> batch) const;

  // Makes the topic and the function's group on it, where they are not there yet.
  [[nodiscard]] Task<Result<void>> join(std::string function, TopicInputSpec input) const;
  // Takes the group away, with what waits in it. A group or topic that is not there is success.
  [[nodiscard]] Task<Result<void>> leave(std::string function, std::string topic) const;

  // Takes away the groups of functions that do not read their topic: a crash in the middle of a removal left them.
  // `functions` is asked after the groups were listed, so that one that is just being made is known.
  using Functions = std::function<Task<Result<std::vector<FunctionSpec>>>()>;
  [[nodiscard]] Task<Result<void>> drop_orphans(Functions functions) const;

 private:
  Broker& broker_;
  std::chrono::milliseconds lease_;
};

}  // namespace millrace
