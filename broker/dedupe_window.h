// DedupeWindow: the ids published to one topic within its window, and what was said under them.
//
// Bounded twice: by time and by number; the oldest is forgotten first. Times are the loop's. An id costs 24 bytes in a
// queue in the order of arrival, and 6 to 11 in a table of places in it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "broker/message_digest.h"

namespace millrace {

class DedupeWindow {
 public:
  struct Entry {
    IdDigest id;
    std::uint32_t content = 0;   // digest_content of its event
    std::uint32_t epoch = 0;     // the log segment that remembers it; 0: none
    EventLoop::TimePoint until;  // the end of its window
  };

  explicit DedupeWindow(std::size_t ids_max) : ids_max_(ids_max) {}

  // Forgets what has run out, then looks: the digest of the content that was published under the id.
  [[nodiscard]] std::optional<std::uint32_t> find(const IdDigest& id, EventLoop::TimePoint now);

  // Remembers; an entry under the same id is replaced. Epochs come in growing order.
  void add(const Entry& entry);

  // Takes up to `limit` entries off the books of the segments up to `epoch`; whoever wants to keep one adds it again
  // under a later epoch. Empty: those segments remember nothing that matters.
  [[nodiscard]] std::vector<Entry> take_from(std::uint32_t epoch, EventLoop::TimePoint now, std::size_t limit);

  [[nodiscard]] std::size_t size() const { return ids_; }

 private:
  struct Slot {
    std::uint64_t id_low;
    std::uint32_t id_high;
    std::uint32_t content;
    std::int64_t until;

    [[nodiscard]] IdDigest id() const { return {.low = id_low, .high = id_high}; }
  };
  static_assert(sizeof(Slot) == 24);

  // Made with the first id: many topics never have one.
  struct Queue {
    std::deque<Slot> slots;
    std::uint64_t first = 0;                                     // the number of the first slot; they count up for ever
    std::uint64_t taken = 0;                                     // those before it were given out by take_from()
    std::deque<std::pair<std::uint32_t, std::uint64_t>> epochs;  // each with the number of its first slot
  };

  [[nodiscard]] Slot& slot(std::uint64_t number) { return queue_->slots[number - queue_->first]; }
  [[nodiscard]] std::uint64_t number_at(std::size_t place) const;
  [[nodiscard]] std::size_t place_of(const IdDigest& id);
  [[nodiscard]] bool is_current(std::uint64_t number);
  void forget_oldest();
  void forget_expired(EventLoop::TimePoint now);
  void erase_place(std::size_t place);
  void resize_places(std::size_t count);

  std::size_t ids_max_;
  std::size_t ids_ = 0;
  std::unique_ptr<Queue> queue_;
  // An open-addressed table: the lower half of slot numbers, plus one; 0: free.
  std::vector<std::uint32_t> places_;
};

}  // namespace millrace
