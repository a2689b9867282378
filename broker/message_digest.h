// What the dedupe window remembers of a message: a digest of its id, and one of its content.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/event.h"

namespace millrace {

// 96 bits that nobody without the key can aim at: with a plain hash a hostile publisher could make its message count as
// a repeat of somebody else's.
struct IdDigest {
  std::uint64_t low = 0;
  std::uint32_t high = 0;

  bool operator==(const IdDigest&) const = default;
};

using IdKey = std::array<std::uint64_t, 2>;

// SipHash-2-4 with 128 bits of output.
[[nodiscard]] std::array<std::uint64_t, 2> sip_hash(std::string_view bytes, const IdKey& key);

// The first 96 bits of it.
[[nodiscard]] IdDigest digest_id(std::string_view id, const IdKey& key);

// Of an ordering key; never 0.
[[nodiscard]] std::uint64_t digest_key(std::string_view ordering_key, const IdKey& key);

// A checksum of what the publisher says: source, id there, type, subject, content type, object and data. What is
// stamped on the way (time, order, hops, cause, private copies, trace headers) is left out, since an honest repeat
// after a crash stamps it anew.
[[nodiscard]] std::uint32_t digest_content(const Event& event);

}  // namespace millrace
