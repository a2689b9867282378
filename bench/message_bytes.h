// How long the messages are that brokers and their baselines carry in benchmarks.
#pragma once

#include <cstddef>

namespace millrace::bench {

inline constexpr std::size_t kMessageBytes = 1024;

}  // namespace millrace::bench
