// The Broker that lives inside the process: the topic state machine, timers of the loop, and a journal behind it. What
// the memory broker and the log broker have in common; each brings its own journal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "broker/broker.h"
#include "broker/journal.h"
#include "broker/topic_state.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

namespace embedded {
class Core;
}

class EmbeddedBroker final : public Broker {
 public:
  struct Options {
    std::size_t topics_max = 10'000;
    // Of each topic, whatever its own settings say.
    std::uint64_t topic_bytes_max = UINT64_MAX;
    std::uint64_t topic_messages_max = UINT64_MAX;
    Log* log = nullptr;  // outlives the broker; null: says nothing
  };

  // `table` may hold recovered topics, everything in them visible.
  EmbeddedBroker(EventLoop& loop, Metrics& metrics, Options options, std::unique_ptr<TopicTable> table,
                 std::unique_ptr<Journal> journal);
  // Without close(): what is not confirmed is left to chance, as in a crash.
  ~EmbeddedBroker() override;

  Capabilities capabilities() const override;
  Task<Result<void>> ensure(TopicSpec topic) override;
  Task<Result<std::vector<std::string>>> topics() override;
  Task<Result<TopicInfo>> describe(std::string topic) override;
  Task<Result<void>> remove_group(std::string topic, std::string group) override;
  Task<Result<void>> remove_topic(std::string topic) override;
  Task<std::vector<Result<Receipt>>> publish(std::string topic, std::vector<Outgoing> batch) override;
  Task<Result<std::unique_ptr<Subscription>>> subscribe(SubscribeOptions options) override;
  Task<Result<Lag>> lag(std::string topic, std::string group) override;
  Task<Result<std::vector<WaitingMessage>>> waiting(std::string topic, std::string group, std::string after,
                                                    std::size_t limit) override;
  Task<Result<std::vector<DeadLetter>>> dead_letters(std::string topic, std::string group, std::string after,
                                                     std::size_t limit) override;
  Task<Result<std::uint64_t>> redrive(std::string topic, std::string group, std::vector<std::string> ids) override;
  Task<Result<void>> purge(std::string topic, std::string group) override;
  std::optional<Error> trouble() const override;
  Task<Result<std::unique_ptr<Watch>>> watch(std::string topic, TopicWatcher& watcher) override;
  void on_backlog(std::move_only_function<void(const std::string& topic)> changed) override;
  Task<void> close() override;

 private:
  [[nodiscard]] Result<Receipt> publish_one(TopicState& topic, Outgoing& message, std::size_t size);

  Capabilities capabilities_;
  std::shared_ptr<embedded::Core> core_;
};

}  // namespace millrace
