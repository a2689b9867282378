// Event: something happened. What producers ingest, topics carry and functions are run on.
//
// Attributes follow CloudEvents 1.0; `data` is opaque bytes. An event about a file does not carry the file: it names
// the object and the exact version that was seen.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/ids.h"

namespace millrace {

// What tells one content of a file from another without reading it. For local files all three; 0 where unknown.
struct ObjectVersion {
  std::uint64_t size_bytes = 0;
  std::int64_t mtime_ns = 0;  // since 1970
  std::uint64_t inode = 0;

  bool operator==(const ObjectVersion&) const = default;
};

// One object of one store, in the version an event is about.
struct ObjectRef {
  std::string store = "local";
  std::string bucket;
  std::string key;           // the user's name, '/' between folders, never leading
  ObjectVersion version;     // of the bytes: of private_path where that is set
  std::string private_path;  // our private copy, below the store's root; empty: the bytes lie under bucket and key
};

struct Event {
  EventId id;             // H(source, source_id)
  std::string source;     // CloudEvents `source`: who says so
  std::string source_id;  // CloudEvents `id`: unique per source only
  std::string type;       // "millrace.object.created", "millrace.invoke", or the publisher's own
  std::string subject;    // of object events: the key
  std::chrono::system_clock::time_point time{};
  std::string content_type;  // of `data`

  Order order;                   // greater = later among the roots; decides whose output keeps a name
  std::uint32_t hops = 0;        // runs between the root and this event
  std::uint32_t generation = 0;  // raised when a finished event is run again on purpose
  RunId cause;                   // the run that published it; empty at a root

  std::optional<ObjectRef> object;
  std::vector<std::pair<std::string, std::string>> extensions;  // the publisher's own attributes, names lower-case
  std::string data;
};

inline constexpr std::string_view kObjectCreated = "millrace.object.created";
inline constexpr std::string_view kInvoke = "millrace.invoke";
inline constexpr std::string_view kPublished = "millrace.published";  // of a publisher who names no type
inline constexpr std::string_view kResult = "millrace.result";        // what a function published on a topic

// Bounds of an event on every backend; a larger body goes to the store and travels as an object.
inline constexpr std::size_t kEventBytesMax = 1 << 20;
inline constexpr std::size_t kEventHeaderBytesMax = 32 << 10;
inline constexpr std::uint32_t kHopsMax = 16;

}  // namespace millrace
