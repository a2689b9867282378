// What every backend refuses before it asks anybody: the same bounds and the same words everywhere.
#pragma once

#include <chrono>
#include <cstddef>

#include "broker/broker.h"
#include "core/error.h"
#include "core/event.h"

namespace millrace {

inline constexpr std::chrono::milliseconds kDelayMax = std::chrono::hours(24 * 366);
inline constexpr std::size_t kIdBytesMax = 256;
inline constexpr std::size_t kReasonBytesMax = 4096;  // of a dead letter; longer ones are cut
inline constexpr std::size_t kDeadLetterPageMax = 1000;
inline constexpr std::size_t kDeadLetterPageBytesMax = 8 << 20;  // of events; the one that passes it is the page's last

// What an event's attributes take when encoded, never less than that: each with its name and length.
[[nodiscard]] std::size_t header_bytes(const Event& event);

[[nodiscard]] Result<void> check_message(const Outgoing& message, std::size_t message_bytes_max);
[[nodiscard]] Result<void> check_spec(const TopicSpec& spec);             // its groups' names included
[[nodiscard]] Result<void> check_delay(std::chrono::milliseconds delay);  // of a nak

}  // namespace millrace
