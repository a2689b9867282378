// What stands behind the state of an embedded broker: nothing (memory), or a log on disk that each change is written
// to.
//
// Changes are written in the order in which they are made; confirm() waits until all written so far are as safe as this
// journal makes them. A change counts at once, before it is confirmed: a crash takes it back together with everything
// that was made of it, and nobody was told. Loop thread only.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "async/task.h"
#include "broker/broker.h"
#include "broker/message_digest.h"
#include "broker/topic_state.h"
#include "broker/wait_list.h"
#include "core/error.h"

namespace millrace {

class Journal : public FreedMessages {
 public:
  explicit Journal(EventLoop& loop) : waits_(loop) {}

  [[nodiscard]] virtual Capabilities capabilities() const = 0;
  [[nodiscard]] virtual IdKey id_key() const = 0;

  // True when a message of this size can be written now. make_room() waits for that; `no_space` when it cannot be had.
  [[nodiscard]] virtual bool has_room(std::size_t size_bytes) const = 0;
  virtual Task<Result<void>> make_room(std::size_t size_bytes) = 0;

  // Each fails without effect: `unavailable` after a fatal error, `no_space`.
  // Sets the message's size and place. Content: digest_content of its event.
  virtual Result<void> write_message(const TopicState& topic, Message& message, const StoredMessage& stored,
                                     std::uint32_t content, std::chrono::milliseconds delay) = 0;
  virtual Result<void> write_entry(const GroupState& group, const Entry& entry, std::chrono::milliseconds delay) = 0;
  virtual Result<void> write_dead(const GroupState& group, std::uint64_t seq, const DeadEntry& dead) = 0;
  virtual Result<void> write_settled(const GroupState& group, std::uint64_t seq) = 0;
  virtual Result<void> write_purge(const GroupState& group) = 0;
  // Before the topic or group exists, so that nothing ever refers to one that was not recorded. The numbers are the
  // next free ones, or those of what is there. Returns the segment of the record.
  virtual Result<std::uint32_t> write_topic(std::uint32_t id, std::uint64_t first_seq, const std::string& name,
                                            const TopicSettings& settings) = 0;
  virtual Result<std::uint32_t> write_group(std::uint32_t topic, std::size_t index, const std::string& name) = 0;
  virtual Result<std::uint32_t> write_group_removed(const GroupState& group) = 0;
  virtual Result<void> write_topic_removed(std::uint32_t id) = 0;

  // Brings the content of a message into memory. `ahead`: those behind it will be wanted next.
  virtual Task<Result<void>> load(TopicState& topic, std::uint64_t seq, bool ahead) = 0;

  // Confirms what is written and lets go of everything.
  virtual Task<void> close() = 0;

  [[nodiscard]] std::uint64_t written() const { return written_; }
  [[nodiscard]] std::uint64_t confirmed() const { return confirmed_; }
  [[nodiscard]] const std::optional<Error>& failure() const { return failure_; }
  // Why no message can be written now, as far as is known.
  [[nodiscard]] virtual std::optional<Error> trouble() const { return failure_; }

  class [[nodiscard]] Confirmation {
   public:
    explicit Confirmation(Journal& journal)
        : journal_(journal), ticket_(journal.written_), wait_(journal.waits_, ticket_, {}) {}

    bool await_ready() const { return journal_.confirmed_ >= ticket_ || journal_.failure_; }
    void await_suspend(std::coroutine_handle<> waiter) { wait_.await_suspend(waiter); }
    // Only called while the journal lives: with it, those who wait are forgotten.
    Result<void> await_resume() const {
      if (journal_.confirmed_ < ticket_) return fail(*journal_.failure_);
      return {};
    }

   private:
    Journal& journal_;
    std::uint64_t ticket_;
    WaitList::Awaiter wait_;
  };
  // Success when everything written before the call is confirmed.
  [[nodiscard]] Confirmation confirm() { return Confirmation(*this); }

 protected:
  void add_written() { ++written_; }
  // Called by a step of the loop that has nothing left to do.
  void set_confirmed(std::uint64_t count) {
    confirmed_ = count;
    waits_.run_until(count);
  }
  void set_failure(Error error) {
    failure_ = std::move(error);
    waits_.wake_all();
  }

 private:
  std::uint64_t written_ = 0;
  std::uint64_t confirmed_ = 0;
  std::optional<Error> failure_;
  WaitList waits_;
};

}  // namespace millrace
