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

IdDigest digest_id(std::string_view id, const IdKey& key) {
  SipState state{.v0 = key[0] ^ 0x736f6d6570736575,
                 .v1 = key[1] ^ 0x646f72616e646f6d ^ 0xee,
                 .v2 = key[0] ^ 0x6c7967656e657261,
                 .v3 = key[1] ^ 0x7465646279746573};
  std::size_t at = 0;
  for (; at + 8 <= id.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, id.data() + at, 8);
    state.absorb(word);
  }
  std::uint64_t last = static_cast<std::uint64_t>(id.size()) << 56;
  for (std::size_t i = 0; at + i < id.size(); ++i) {
    last |= static_cast<std::uint64_t>(static_cast<unsigned char>(id[at + i])) << (8 * i);
  }
  state.absorb(last);
  state.v2 ^= 0xee;
  IdDigest digest;
  digest.low = state.squeeze();
  state.v1 ^= 0xdd;
  digest.high = state.squeeze();
  return digest;
}

std::uint64_t digest_content(const Event& event) {
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
  return static_cast<std::uint64_t>(crc) << 32 | static_cast<std::uint32_t>(event.data.size());
}

}  // namespace millrace
