#include "core/backoff.h"

#include <algorithm>

namespace millrace {

Backoff::Milliseconds Backoff::ceiling(Milliseconds base, Milliseconds cap, std::uint32_t failures) {
  Milliseconds delay = std::min(base, cap);
  for (std::uint32_t n = 1; n < failures && delay < cap; ++n) delay = std::min(delay * 2, cap);
  return delay;
}

Backoff::Milliseconds Backoff::delay(Milliseconds base, Milliseconds cap, std::uint32_t failures) {
  std::uniform_int_distribution<Milliseconds::rep> pick(
      0, std::max<Milliseconds::rep>(ceiling(base, cap, failures).count(), 0));
  return Milliseconds(pick(random_));
}

}  // namespace millrace
