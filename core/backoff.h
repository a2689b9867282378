// Exponential backoff with full jitter: a delay drawn evenly from 0 to min(cap, base * 2^n), so that many who failed
// together do not come back together.
#pragma once

#include <chrono>
#include <cstdint>
#include <random>

namespace millrace {

class Backoff {
 public:
  using Milliseconds = std::chrono::milliseconds;

  Backoff() : Backoff(std::random_device{}()) {}
  explicit Backoff(std::uint64_t seed) : random_(seed) {}

  // The largest delay after `failures` failures (1: the first).
  [[nodiscard]] static Milliseconds ceiling(Milliseconds base, Milliseconds cap, std::uint32_t failures);

  [[nodiscard]] Milliseconds delay(Milliseconds base, Milliseconds cap, std::uint32_t failures);

 private:
  std::mt19937_64 random_;
};

}  // namespace millrace
