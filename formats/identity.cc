#include "formats/identity.h"

#include <openssl/evp.h>

#include <array>
#include <cstdlib>
#include <memory>

namespace millrace {

std::string identity_hash(std::initializer_list<std::string_view> fields) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  bool ok = context && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  for (const auto field : fields) {
    std::array<unsigned char, 8> length{};
    for (std::size_t i = 0; i < length.size(); ++i) length[i] = static_cast<unsigned char>(field.size() >> (8 * i));
    ok = ok && EVP_DigestUpdate(context.get(), length.data(), length.size()) == 1;
    ok = ok && EVP_DigestUpdate(context.get(), field.data(), field.size()) == 1;
  }
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  ok = ok && EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1;
  if (!ok) std::abort();  // only out of memory

  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < 16; ++i) {
    text += kHex[digest[i] >> 4];
    text += kHex[digest[i] & 15];
  }
  return text;
}

EventId event_id(std::string_view source, std::string_view source_id) {
  return EventId(identity_hash({source, source_id}));
}

std::string object_source_id(const ObjectRef& object) {
  return identity_hash({object.store, object.bucket, object.key, std::to_string(object.version.size_bytes),
                        std::to_string(object.version.mtime_ns)});
}

RunId make_run_id(const FunctionUid& function, const EventId& event, std::uint32_t generation) {
  return RunId(identity_hash({function.str(), event.str(), std::to_string(generation)}));
}

Order foreign_order(std::chrono::system_clock::time_point published_at, const EventId& event) {
  constexpr std::string_view kDigits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";  // Crockford's
  constexpr std::size_t kTimeDigits = 10;
  constexpr std::size_t kOtherDigits = 16;
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(published_at.time_since_epoch()).count();
  auto left = static_cast<std::uint64_t>(ms < 0 ? 0 : ms) & ((1ULL << 48) - 1);
  std::string text(kTimeDigits, '0');
  for (std::size_t i = kTimeDigits; i-- > 0; left >>= 5) text[i] = kDigits[left & 31];
  const std::string hash = identity_hash({"order", event.str()});
  for (std::size_t i = 0; i < kOtherDigits; ++i) {
    const auto value = static_cast<unsigned char>(hash[i]);  // a hex digit: 4 bits of the 5
    text += kDigits[value <= '9' ? value - '0' : value - 'a' + 10];
  }
  return Order(text);
}

Order order_of(const Event& event, std::chrono::system_clock::time_point published_at) {
  constexpr std::chrono::hours kAheadMax(24);
  const bool usable = is_ulid(event.order.str()) && event.order < foreign_order(published_at + kAheadMax, event.id);
  return usable ? event.order : foreign_order(published_at, event.id);
}

std::string work_message_id(const RunId& run, std::uint32_t redrives) {
  return identity_hash({run.str(), std::to_string(redrives)});
}

std::string output_source_id(const RunId& run, std::uint32_t index) {
  return identity_hash({run.str(), std::to_string(index)});
}

}  // namespace millrace
