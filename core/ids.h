// Identities of things, as types that cannot be mixed up, and the two ways we make them.
//
// Derived ids are hashes (formats/identity.h); made ids are ULIDs: 26 characters of Crockford's base 32, sorted by
// their time of making. Both are plain text everywhere: in the API, in file names, in the log.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <string_view>
#include <utility>

namespace millrace {

// Text with a meaning. Explicit in, explicit out; comparable and hashable like the text.
template <class Tag>
class Id {
 public:
  Id() = default;
  explicit Id(std::string text) : text_(std::move(text)) {}

  [[nodiscard]] const std::string& str() const { return text_; }
  [[nodiscard]] bool empty() const { return text_.empty(); }
  auto operator<=>(const Id&) const = default;

 private:
  std::string text_;
};

using EventId = Id<struct EventIdTag>;            // 32 hex digits: H(source, id at the source)
using RunId = Id<struct RunIdTag>;                // 32 hex digits: H(function uid, event id, generation)
using FunctionUid = Id<struct FunctionUidTag>;    // a ULID: made at create, kept by updates
using AttemptToken = Id<struct AttemptTokenTag>;  // 32 hex digits, random: names one attempt's directory
using Order = Id<struct OrderTag>;                // a ULID: the root event's ingest, inherited downstream

// Makes ULIDs that sort strictly in the order of making, also within one millisecond and when the clock steps back.
// One per loop; not for use from several threads.
class UlidMaker {
 public:
  UlidMaker();                             // seeded by the system
  explicit UlidMaker(std::uint64_t seed);  // repeatable, for tests and the simulation

  [[nodiscard]] std::string make(std::chrono::system_clock::time_point now);

  // What is made from now on sorts behind this one, which may be of an earlier life or of another host. No effect for
  // what is no ULID, or is of the last millisecond there is.
  void start_after(std::string_view ulid);

 private:
  void begin(std::uint64_t now_ms);

  std::mt19937_64 random_;
  std::uint64_t last_ms_ = 0;
  std::uint16_t high_;  // upper 16 of the 80 random bits
  std::uint64_t low_;   // lower 64
};

// True for 26 characters of Crockford's base 32 whose time fits 48 bits.
[[nodiscard]] bool is_ulid(std::string_view text);

// `bytes` random bytes from the kernel as lower-case hex; for tokens and secrets.
[[nodiscard]] std::string random_hex(std::size_t bytes);

}  // namespace millrace

template <class Tag>
struct std::hash<millrace::Id<Tag>> {
  std::size_t operator()(const millrace::Id<Tag>& id) const noexcept { return std::hash<std::string>{}(id.str()); }
};
