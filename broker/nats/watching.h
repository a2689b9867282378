// One who watches what is published on a topic: a consumer of its own whose messages are settled when they are sent.
// Some are always asked for, so nothing waits for it, and it goes by itself soon after nobody asks any more. One
// request stands at a time, bounded in messages and bytes. It may vanish without a word, with the server that had it:
// one that is neither answered nor over in time is looked after.
//
// Thread: the loop's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "async/event_loop.h"
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

  // The topic may be gone, or the consumer, while we were cut off. Returns when somebody is asked again.
  [[nodiscard]] Task<void> look_again();
  void check_request();  // now and then
  void topic_removed();
  [[nodiscard]] const std::string& topic() const { return topic_; }

 private:
  [[nodiscard]] std::string place() const { return core_.names.stream(topic_) + "." + consumer_; }
  [[nodiscard]] Task<Result<void>> make();
  [[nodiscard]] Task<bool> look();
  void ask(std::uint32_t messages);  // and for so many bytes at most, but where it is for one
  void arrived(const Message& message);
  void told(const Message& message);  // by the server, of the request that stands

  Core& core_;
  const std::string topic_;
  const std::string consumer_;
  TopicWatcher* watcher_;  // null: it has ended
  bool looking_ = false;
  EventLoop::TimePoint asked_at_;
  std::uint32_t messages_left_ = 0;  // of what was asked for
  std::int64_t bytes_left_ = 0;
  std::uint64_t last_ = 0;  // number of what came last, as the consumer counts
};

// Watches as long as it lives.
[[nodiscard]] Task<Result<std::unique_ptr<Watch>>> watch(std::shared_ptr<Core> core, std::string topic,
                                                         TopicWatcher& watcher);

}  // namespace millrace::nats
