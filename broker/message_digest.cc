#include "broker/message_digest.h"

#include <bit>
#include <cstring>

#include "broker/crc32c.h"

namespace millrace {
namespace {

struct SipState {
  std::uint64_t v0, v1, v2, v3;

  void round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }
  void absorb(std::uint64_t word) {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  }
  std::uint64_t squeeze() {
    for (int i = 0; i < 4; ++i) round();
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

// The length goes in first, so that no two lists of fields look alike.
std::uint32_t add_field(std::string_view field, std::uint32_t crc) {
  const std::uint64_t size = field.size();
  return crc32c(field, crc32c({reinterpret_cast<const char*>(&size), sizeof size}, crc));
}

}  // namespace

std::array<std::uint64_t, 2> sip_hash(std::string_view bytes, const IdKey& key) {
  SipState state{.v0 = key[0] ^ 0x736f6d6570736575,
                 .v1 = key[1] ^ 0x646f72616e646f6d ^ 0xee,
                 .v2 = key[0] ^ 0x6c7967656e657261,
                 .v3 = key[1] ^ 0x7465646279746573};
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, 8);
    state.absorb(word);
  }
  std::uint64_t last = static_cast<std::uint64_t>(bytes.size()) << 56;
  for (std::size_t i = 0; at + i < bytes.size(); ++i) {
    last |= static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  }
  state.absorb(last);
  state.v2 ^= 0xee;
  const std::uint64_t low = state.squeeze();
  state.v1 ^= 0xdd;
  return {low, state.squeeze()};
}

IdDigest digest_id(std::string_view id, const IdKey& key) {
  const auto hash = sip_hash(id, key);
  return {.low = hash[0], .high = static_cast<std::uint32_t>(hash[1])};
}

std::uint64_t digest_key(std::string_view ordering_key, const IdKey& key) {
  const std::uint64_t digest = sip_hash(ordering_key, key)[0];
  return digest == 0 ? 1 : digest;
}

std::uint32_t digest_content(const Event& event) {
  std::uint32_t crc = add_field(event.source, 0);
  crc = add_field(event.source_id, crc);
  crc = add_field(event.type, crc);
  crc = add_field(event.subject, crc);
  crc = add_field(event.content_type, crc);
  if (event.object) {
    crc = add_field(event.object->store, crc);
    crc = add_field(event.object->bucket, crc);
    crc = add_field(event.object->key, crc);
    const std::uint64_t size = event.object->version.size_bytes;
    crc = add_field({reinterpret_cast<const char*>(&size), sizeof size}, crc);
  }
  crc = add_field(event.data, crc);
  return crc;
}

}  // namespace millrace
