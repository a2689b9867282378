// Company: whether it pays to wait for others of a kind, so that one costly step (a sync) does for several.
//
//   const auto linger = company_.arrive(loop.now());    // zero: nobody else is about, do it at once
//
// Waiting pays when many come along anyway, and helps nobody who is alone: a single run, whose steps follow one
// another, never waits.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>

namespace millrace {

class Company {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  static constexpr std::chrono::milliseconds kLinger{4};

  // Counts one more; how long it should wait for the next.
  [[nodiscard]] std::chrono::milliseconds arrive(TimePoint now) {
    const bool many = now - lately_[next_] <= kLately;
    lately_[next_] = now;
    next_ = (next_ + 1) % lately_.size();
    return many ? kLinger : std::chrono::milliseconds(0);
  }

 private:
  // As many as kMany, besides the one that comes, within kLately: two of them, or more, within kLinger.
  static constexpr std::size_t kMany = 4;
  static constexpr std::chrono::milliseconds kLately{10};
  static constexpr TimePoint kNever{-std::chrono::hours(1)};

  std::array<TimePoint, kMany> lately_{kNever, kNever, kNever, kNever};
  std::size_t next_ = 0;
};

}  // namespace millrace
