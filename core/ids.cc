#include "core/ids.h"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

namespace millrace {
namespace {

constexpr std::string_view kAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr std::uint64_t kTimeMax = (std::uint64_t{1} << 48) - 1;

std::uint64_t system_seed() {
  std::uint64_t seed = 0;
  if (getrandom(&seed, sizeof seed, 0) != sizeof seed) std::abort();
  return seed;
}

}  // namespace

UlidMaker::UlidMaker() : UlidMaker(system_seed()) {}
UlidMaker::UlidMaker(std::uint64_t seed)
    : random_(seed), high_(static_cast<std::uint16_t>(random_() >> 49)), low_(random_()) {}

std::string UlidMaker::make(std::chrono::system_clock::time_point now) {
  const auto since_epoch = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch());
  // A clock before 1970 counts as 1970: 48 bits know no sign.
  const auto now_ms = static_cast<std::uint64_t>(std::max(since_epoch.count(), std::int64_t{0}));
  if (now_ms > last_ms_) {
    begin(now_ms);
  } else if (++low_ == 0) {
    ++high_;
  }

  // 48 bits of time in 10 characters, then 80 random bits in 16.
  std::string text(26, '0');
  for (std::size_t i = 0; i < 10; ++i) text[9 - i] = kAlphabet[(last_ms_ >> (5 * i)) & 31];
  unsigned __int128 random = (static_cast<unsigned __int128>(high_) << 64) | low_;
  for (std::size_t i = 0; i < 16; ++i, random >>= 5) text[25 - i] = kAlphabet[static_cast<std::size_t>(random & 31)];
  return text;
}

// The millisecond after it and not the number after it: two hosts that begin behind the same one must not make the
// same.
void UlidMaker::start_after(std::string_view ulid) {
  if (!is_ulid(ulid)) return;
  std::uint64_t ms = 0;
  for (const char digit : ulid.substr(0, 10)) ms = ms << 5 | kAlphabet.find(digit);
  if (ms >= last_ms_ && ms < kTimeMax) begin(ms + 1);
}

void UlidMaker::begin(std::uint64_t now_ms) {
  last_ms_ = now_ms;
  high_ = static_cast<std::uint16_t>(random_() >> 49);  // top bit clear: room to count up within the millisecond
  low_ = random_();
}

bool is_ulid(std::string_view text) {
  if (text.size() != 26 || text[0] > '7') return false;
  return text.find_first_not_of(kAlphabet) == std::string_view::npos;
}

std::string random_hex(std::size_t bytes) {
  std::vector<unsigned char> raw(bytes);
  for (std::size_t done = 0; done < bytes;) {
    const ssize_t n = getrandom(raw.data() + done, bytes - done, 0);
    if (n > 0) done += static_cast<std::size_t>(n);  // only EINTR can fail, and it comes back
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  text.reserve(bytes * 2);
  for (const unsigned char byte : raw) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

}  // namespace millrace
