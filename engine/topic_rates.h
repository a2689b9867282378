// How fast events come to topics and leave them. Nobody is watched: whoever asks leaves a sample behind, and the rate
// is the change since an earlier one of the last seconds. So the first look in a while knows none.
//
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "async/event_loop.h"

namespace millrace {

class TopicRates {
 public:
  static constexpr std::chrono::seconds kWindow{10};
  static constexpr std::chrono::milliseconds kSpanMin{500};  // a shorter one says nothing
  static constexpr std::size_t kTopicsMax = 10'000;          // of more, the first that were not asked for lately go
  static constexpr std::size_t kSamplesMax = 64;

  struct Rates {
    std::optional<double> published_per_s;
    std::optional<double> consumed_per_s;
  };

  // `published`: ever; `open`: what of it is not done yet. `name`: of the topic and its group.
  [[nodiscard]] Rates note(const std::string& name, std::uint64_t published, std::uint64_t open,
                           EventLoop::TimePoint now);

 private:
  struct Sample {
    EventLoop::TimePoint at;
    std::uint64_t published = 0;
    std::uint64_t consumed = 0;
  };

  std::map<std::string, std::deque<Sample>> samples_;
};

}  // namespace millrace
