// DedupeWindow: the ids published to one topic within its window, and what was said under them.
//
// Bounded twice: by time and by number; the oldest is forgotten first. Times are the loop's. An id costs 24 bytes in a
// queue in the order of arrival, and 6 to 11 in a table of places in it. What looks for an id that is not there seldom
// touches the queue, which does not fit a processor's cache: a place holds some bits of the id as well.
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

  static constexpr std::size_t kIdsMax = std::size_t{1} << 29;  // so that a place has room for a slot's number

  explicit DedupeWindow(std::size_t ids_max);  // at most kIdsMax

  // Forgets what has run out, then looks: the digest of the content that was published under the id.
  [[nodiscard]] std::optional<std::uint32_t> find(const IdDigest& id, EventLoop::TimePoint now);

  // Has what find() will read first brought near, while the caller does something else.
  void look_ahead(const IdDigest& id) const {
    if (!places_.empty()) __builtin_prefetch(&places_[id.low & (places_.size() - 1)]);
  }

  // Remembers; an entry under the same id is replaced. Epochs come in growing order.
  void add(const Entry& entry);

  void clear();

  // Up to `limit` entries that only the segments up to `epoch` remember; once they stand in a later one too, moved()
  // says so. Empty: those segments remember nothing that matters.
  [[nodiscard]] std::vector<Entry> only_in(std::uint32_t epoch, EventLoop::TimePoint now, std::size_t limit);
  // What the last only_in() gave out is remembered by this segment now. Nothing was added in between.
  void moved(std::uint32_t epoch);

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

  // Neighbours that the same segment remembers. Copying moves the oldest, so there are hardly more than segments.
  struct Run {
    std::uint64_t first;  // the number of its first slot; it ends where the next one starts
    std::uint32_t epoch;
  };

  // Made with the first id: many topics never have one.
  struct Queue {
    std::deque<Slot> slots;
    std::uint64_t first = 0;       // the number of the first slot; they count up for ever
    std::uint64_t given_from = 0;  // what only_in() gave out
    std::uint64_t given_to = 0;
    std::deque<Run> runs;
  };

  [[nodiscard]] Slot& slot(std::uint64_t number) { return queue_->slots[number - queue_->first]; }
  [[nodiscard]] std::uint64_t end() const { return queue_->first + queue_->slots.size(); }
  [[nodiscard]] std::uint32_t place_for(const Slot& slot, std::uint64_t number) const;
  [[nodiscard]] std::uint64_t number_in(std::uint32_t place) const;
  [[nodiscard]] std::size_t find_place(const IdDigest& id);
  void forget_oldest();
  void forget_expired(EventLoop::TimePoint now);
  void erase_place(std::size_t at);
  void resize_places(std::size_t count);

  std::size_t ids_max_;
  std::size_t ids_ = 0;
  std::unique_ptr<Queue> queue_;
  unsigned number_bits_;  // enough to tell all slots of the queue apart
  // An open-addressed table. 0: free. Otherwise the highest bit, some bits of the id, and the lower bits of the slot's
  // number.
  std::vector<std::uint32_t> places_;
};

}  // namespace millrace
