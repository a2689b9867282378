// DedupeWindow: the ids published to one topic within its window, and what was said under them.
//
// Bounded twice: by time and by number; the oldest is forgotten first. Times are the loop's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <unordered_map>
#include <vector>

#include "async/event_loop.h"
#include "broker/message_digest.h"

namespace millrace {

class DedupeWindow {
 public:
  struct Entry {
    IdDigest id;
    std::uint64_t content = 0;   // digest_content of its event
    std::uint32_t epoch = 0;     // the log segment that remembers it; 0: none
    EventLoop::TimePoint until;  // the end of its window
  };

  explicit DedupeWindow(std::size_t ids_max) : ids_max_(ids_max) {}

  // Forgets what has run out, then looks. Null when the id is new.
  [[nodiscard]] const Entry* find(const IdDigest& id, EventLoop::TimePoint now);

  // Remembers; an entry under the same id is replaced.
  void add(const Entry& entry);

  // Takes up to `limit` entries off the books of the segments up to `epoch`; whoever wants to keep one adds it again
  // under a later epoch. Empty: those segments remember nothing that matters.
  [[nodiscard]] std::vector<Entry> take_from(std::uint32_t epoch, EventLoop::TimePoint now, std::size_t limit);

  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  struct Age {
    IdDigest id;
    EventLoop::TimePoint until;
  };

  void forget_oldest();
  void forget_expired(EventLoop::TimePoint now);

  std::size_t ids_max_;
  std::unordered_map<IdDigest, Entry, IdDigestHash> entries_;
  std::deque<Age> ages_;  // in the order of arrival, so nearly in that of expiry
  std::map<std::uint32_t, std::deque<IdDigest>> by_epoch_;
};

}  // namespace millrace
