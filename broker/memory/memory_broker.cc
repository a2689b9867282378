#include "broker/memory/memory_broker.h"

#include <string>
#include <utility>

#include "broker/embedded_broker.h"
#include "broker/journal.h"

namespace millrace {
namespace {

// Records nothing, so everything is confirmed at once; counts the bytes.
class MemoryJournal final : public Journal {
 public:
  MemoryJournal(EventLoop& loop, std::uint64_t bytes_max) : Journal(loop), bytes_max_(bytes_max) {}

  Capabilities capabilities() const override {
    return {.confirm = Durability::memory,
            .native_delay = true,
            .durable_attempts = false,
            .ordered_keys = true,
            .priorities = true,
            .exact_lag = true,
            .detects_id_reuse = true,
            .lists_waiting = true,
            .bounds_count_dead = true,
            .message_bytes_max = kEventBytesMax};
  }
  // Ids that collide on purpose only cheat the process that made them.
  IdKey id_key() const override { return {0x6d696c6c72616365, 0x6d656d6f72790000}; }

  bool has_room(std::size_t size_bytes) const override { return held_bytes_ + size_bytes <= bytes_max_; }
  Task<Result<void>> make_room(std::size_t) override {
    co_return fail(Errc::no_space, "the memory broker holds " + std::to_string(held_bytes_) + " bytes of its " +
                                       std::to_string(bytes_max_));
  }

  Result<void> write_message(const TopicState&, Message& message, const StoredMessage&, std::uint32_t,
                             std::chrono::milliseconds) override {
    held_bytes_ += message.size_bytes();
    return {};
  }
  void freed(const Message& message) override { held_bytes_ -= message.size_bytes(); }

  Result<void> write_entry(const GroupState&, const Entry&, std::chrono::milliseconds) override { return {}; }
  Result<void> write_dead(const GroupState&, std::uint64_t, const DeadEntry&) override { return {}; }
  Result<void> write_settled(const GroupState&, std::uint64_t) override { return {}; }
  Result<void> write_purge(const GroupState&) override { return {}; }
  Result<std::uint32_t> write_topic(std::uint32_t, std::uint64_t, const std::string&, const TopicSettings&) override {
    return 0;
  }
  Result<std::uint32_t> write_group(std::uint32_t, std::size_t, const std::string&) override { return 0; }
  Result<std::uint32_t> write_group_removed(const GroupState&) override { return 0; }
  Result<void> write_topic_removed(std::uint32_t) override { return {}; }

  Task<Result<void>> load(TopicState& topic, std::uint64_t seq, bool) override {
    co_return fail(Errc::internal,
                   "message " + std::to_string(seq) + " of topic '" + topic.name() + "' has no content");
  }
  Task<void> close() override { co_return; }

 private:
  std::uint64_t bytes_max_;
  std::uint64_t held_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Broker> make_memory_broker(MemoryBrokerOptions options, EventLoop& loop, Metrics& metrics) {
  return std::make_unique<EmbeddedBroker>(loop, metrics,
                                          EmbeddedBroker::Options{.topics_max = options.topics_max,
                                                                  .topic_bytes_max = options.topic_bytes_max,
                                                                  .topic_messages_max = options.topic_messages_max,
                                                                  .log = nullptr},
                                          std::make_unique<TopicTable>(options.dedupe_ids_max),
                                          std::make_unique<MemoryJournal>(loop, options.bytes_max));
}

}  // namespace millrace
