#include "engine/topic_rates.h"

#include <chrono>

namespace millrace {

TopicRates::Rates TopicRates::note(const std::string& name, std::uint64_t published, std::uint64_t open,
                                   EventLoop::TimePoint now) {
  if (samples_.size() >= kTopicsMax && !samples_.contains(name)) {
    std::erase_if(samples_, [now](const auto& each) { return now - each.second.back().at > kWindow; });
    if (samples_.size() >= kTopicsMax) samples_.erase(samples_.begin());
  }
  auto& samples = samples_[name];
  while (!samples.empty() && now - samples.front().at > kWindow) samples.pop_front();
  const Sample sample{.at = now, .published = published, .consumed = published > open ? published - open : 0};
  Rates rates;
  if (!samples.empty() && now - samples.front().at >= kSpanMin) {
    const Sample& first = samples.front();
    const double seconds = std::chrono::duration<double>(now - first.at).count();
    const auto rate = [seconds](std::uint64_t from, std::uint64_t to) {
      return to > from ? static_cast<double>(to - from) / seconds : 0.0;
    };
    rates.published_per_s = rate(first.published, sample.published);
    rates.consumed_per_s = rate(first.consumed, sample.consumed);
  }
  // Close to the one before it says nothing new.
  if (samples.empty() || (samples.size() < kSamplesMax && now - samples.back().at >= kSpanMin / 4)) {
    samples.push_back(sample);
  }
  return rates;
}

}  // namespace millrace
