// What an embedded broker keeps of a message: 24 bytes for as long as anybody wants it, its content where that is in
// memory, and a mark for the few that have a key or a priority.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "broker/broker.h"
#include "core/event.h"

namespace millrace {

// A message's immutable part, shared between the cache and all its deliveries.
struct StoredMessage {
  std::string id;
  std::string key{};
  Priority priority = Priority::normal;
  std::chrono::system_clock::time_point published_at{};
  Event event;
};

// Where a log keeps a record; epoch 0: nowhere.
struct RecordPlace {
  std::uint32_t epoch = 0;   // of the segment
  std::uint32_t offset = 0;  // in it

  bool operator==(const RecordPlace&) const = default;
};

// A backlog of a million is a million of these.
class Message {
 public:
  static constexpr std::int64_t kPublishedMsMax = (std::int64_t{1} << 43) - 1;  // in the year 2248
  static constexpr std::uint32_t kSizeBytesMax = (1U << 21) - 1;                // above any message

  Message() = default;
  // Time and size within their bounds.
  Message(std::uint64_t open_groups, std::int64_t published_ms, std::uint32_t size_bytes, RecordPlace where)
      : open(open_groups),
        place(where),
        published_and_size_(static_cast<std::uint64_t>(published_ms) << kSizeBits | size_bytes) {}

  std::uint64_t open = 0;  // a bit per group that has not settled it
  RecordPlace place;

  [[nodiscard]] std::int64_t published_ms() const {  // since 1970
    return static_cast<std::int64_t>(published_and_size_ >> kSizeBits);
  }
  // What it counts for in bytes_max, and its record's length in a log.
  [[nodiscard]] std::uint32_t size_bytes() const {
    return static_cast<std::uint32_t>(published_and_size_ & kSizeBytesMax);
  }
  void set_size_bytes(std::uint32_t size_bytes) {
    published_and_size_ = (published_and_size_ & ~std::uint64_t{kSizeBytesMax}) | size_bytes;
  }

 private:
  static constexpr unsigned kSizeBits = 21;
  std::uint64_t published_and_size_ = 0;
};
static_assert(sizeof(Message) == 24);

// Of a message with an ordering key or a priority other than normal.
struct Mark {
  std::uint64_t key = 0;  // a digest of it; 0: none. Two keys with the same one only wait for each other.
  Priority priority = Priority::normal;

  [[nodiscard]] bool says_something() const { return key != 0 || priority != Priority::normal; }
};

}  // namespace millrace
