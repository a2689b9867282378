#include "consumers/lease_keeper.h"

#include <functional>
#include <random>

#include "async/sleep.h"

namespace millrace {

LeaseKeeper::LeaseKeeper(EventLoop& loop, Delivery& delivery) : group_(loop, delivery.lease_lost()) {
  group_.spawn(renew(loop, delivery, group_.stop_token()));
}

Task<void> LeaseKeeper::renew(EventLoop& loop, Delivery& delivery, std::stop_token stop) {
  // Renewals of deliveries that came together spread out; any seed that differs does.
  const auto seed = std::hash<EventId>{}(delivery.event().id);
  std::minstd_rand random(static_cast<std::minstd_rand::result_type>(seed));
  for (;;) {
    const auto third = delivery.lease() / 3;
    const auto jitter = third.count() * static_cast<std::int64_t>(random() % 201) / 1000 - third.count() / 10;
    const auto slept = co_await sleep_for(loop, third + std::chrono::milliseconds(jitter), stop);
    if (!slept) co_return;
    // A renewal that fails for now is tried again in a third: the lease holds two misses. One that is refused for good
    // shows as lease_lost.
    const auto extended = co_await delivery.extend();
    if (!extended && extended.error().code == Errc::aborted) co_return;
  }
}

}  // namespace millrace
