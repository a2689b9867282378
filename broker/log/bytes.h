// Little-endian numbers in and out of strings of bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace millrace::wal {

static_assert(std::endian::native == std::endian::little, "numbers are stored as they lie in memory");

inline void put_u16(std::string& out, std::uint16_t value) {
  out.append(reinterpret_cast<const char*>(&value), 2);
}
inline void put_u32(std::string& out, std::uint32_t value) {
  out.append(reinterpret_cast<const char*>(&value), 4);
}
inline void put_u64(std::string& out, std::uint64_t value) {
  out.append(reinterpret_cast<const char*>(&value), 8);
}

inline void set_u32(char* at, std::uint32_t value) {
  std::memcpy(at, &value, sizeof value);
}
inline void set_u64(char* at, std::uint64_t value) {
  std::memcpy(at, &value, sizeof value);
}

template <class Number>
[[nodiscard]] Number get_number(const char* at) {
  Number value{};
  std::memcpy(&value, at, sizeof value);
  return value;
}
[[nodiscard]] inline std::uint16_t get_u16(const char* at) {
  return get_number<std::uint16_t>(at);
}
[[nodiscard]] inline std::uint32_t get_u32(const char* at) {
  return get_number<std::uint32_t>(at);
}
[[nodiscard]] inline std::uint64_t get_u64(const char* at) {
  return get_number<std::uint64_t>(at);
}

// Reads one after the other; beyond the end everything is zero and ok() is false.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : rest_(bytes) {}

  [[nodiscard]] std::uint8_t u8() { return number<std::uint8_t>(); }
  [[nodiscard]] std::uint16_t u16() { return number<std::uint16_t>(); }
  [[nodiscard]] std::uint32_t u32() { return number<std::uint32_t>(); }
  [[nodiscard]] std::uint64_t u64() { return number<std::uint64_t>(); }
  [[nodiscard]] std::int64_t i64() { return number<std::int64_t>(); }
  [[nodiscard]] std::string_view bytes(std::size_t count) {
    if (count > rest_.size()) {
      ok_ = false;
      count = rest_.size();
    }
    const auto taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  [[nodiscard]] std::string_view rest() { return bytes(rest_.size()); }
  [[nodiscard]] bool empty() const { return rest_.empty(); }
  [[nodiscard]] bool ok() const { return ok_; }

 private:
  template <class Number>
  Number number() {
    const auto taken = bytes(sizeof(Number));
    return taken.size() == sizeof(Number) ? get_number<Number>(taken.data()) : Number{};
  }

  std::string_view rest_;
  bool ok_ = true;
};

}  // namespace millrace::wal
