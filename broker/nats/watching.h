// One who watches what is published on a topic: a consumer of its own whose messages are settled when they are sent.
// More are always asked for, so nothing waits for it, and it goes by itself soon after nobody asks any more.
//
// Thread: the loop's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "async/task.h"
#include "broker/broker.h"
#include "broker/nats/core.h"
#include "core/error.h"

namespace millrace::nats {

class Watching : public std::enable_shared_from_this<Watching> {
 public:
  Watching(Core& core, std::string topic, TopicWatcher& watcher);

  // Makes the consumer. `not_found`: there is no such topic.
  [[nodiscard]] Task<Result<void>> begin();
  void end();  // the watcher is not called any more

  // The topic may be gone, or the consumer, while we were cut off.
  [[nodiscard]] Task<void> look_again();
  void topic_removed();
  [[nodiscard]] const std::string& topic() const { return topic_; }

 private:
  [[nodiscard]] std::string place() const { return core_.names.stream(topic_) + "." + consumer_; }
  [[nodiscard]] Task<Result<void>> make();
  void ask();
  void arrived(const Message& message);

  Core& core_;
  const std::string topic_;
  const std::string consumer_;
  TopicWatcher* watcher_;  // null: it has ended
  std::string inbox_;
  std::uint32_t asked_ = 0;  // of the server, and not come yet
  std::uint64_t last_ = 0;   // number of what came last, as the consumer counts
};

// Watches as long as it lives.
[[nodiscard]] Task<Result<std::unique_ptr<Watch>>> watch(std::shared_ptr<Core> core, std::string topic,
                                                         TopicWatcher& watcher);

}  // namespace millrace::nats
