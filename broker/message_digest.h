// What the dedupe window remembers of a message: a digest of its id, and one of its content.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "core/event.h"

namespace millrace {

// 128 bits that nobody without the key can aim at: with a plain hash a hostile publisher could make its message count
// as a repeat of somebody else's.
struct IdDigest {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  bool operator==(const IdDigest&) const = default;
};

struct IdDigestHash {
  std::size_t operator()(const IdDigest& digest) const noexcept { return digest.low; }  // already evenly spread
};

using IdKey = std::array<std::uint64_t, 2>;

// SipHash-2-4 with 128 bits of output.
[[nodiscard]] IdDigest digest_id(std::string_view id, const IdKey& key);

// A checksum of what the publisher says: source, id there, type, subject, content type, object and data. What is
// stamped on the way (time, order, hops, cause, private copies, trace headers) is left out, since an honest repeat
// after a crash stamps it anew.
[[nodiscard]] std::uint64_t digest_content(const Event& event);

}  // namespace millrace
