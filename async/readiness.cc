#include "async/readiness.h"

#include <utility>

namespace millrace {

Task<Result<void>> Readiness::wait(std::stop_token stop) {
  const OneShot<Result<void>> done(loop_);
  waiting_ = done;
  if (!watch_) watch_ = loop_.watch(fd_, interest_, [this] { ready(); });
  const std::stop_callback on_stop(stop, [done] { done.set(fail(Errc::cancelled, "cancelled")); });
  auto result = co_await done.wait();
  waiting_.reset();
  co_return result;
}

void Readiness::ready() {
  if (const auto waiting = std::exchange(waiting_, std::nullopt)) {
    waiting->set({});
  } else {
    watch_.reset();
  }
}

}  // namespace millrace
