#include "broker/input_checks.h"

#include <string>

namespace millrace {

std::size_t header_bytes(const Event& event) {
  constexpr std::size_t kPerField = 40;
  constexpr std::size_t kFields = 24;
  std::size_t bytes = kPerField * kFields + event.id.str().size() + event.source.size() + event.source_id.size() +
                      event.type.size() + event.subject.size() + event.content_type.size() + event.order.str().size() +
                      event.cause.str().size();
  if (event.object) {
    bytes += event.object->store.size() + event.object->bucket.size() + event.object->key.size() +
             event.object->private_path.size();
  }
  for (const auto& [name, value] : event.extensions) bytes += kPerField + name.size() + value.size();
  return bytes;
}

Result<void> check_message(const Outgoing& message, std::size_t message_bytes_max) {
  if (message.id.empty() || message.id.size() > kIdBytesMax) {
    return fail(Errc::invalid_argument, "the id of a message has " + std::to_string(message.id.size()) +
                                            " bytes; expected 1 to " + std::to_string(kIdBytesMax));
  }
  if (message.delay < std::chrono::milliseconds(0) || message.delay > kDelayMax) {
    return fail(Errc::invalid_argument, "message '" + message.id + "': a delay of " +
                                            std::to_string(message.delay.count()) +
                                            " ms is not between 0 and 366 days");
  }
  if (message.key.size() > kKeyBytesMax) {
    return fail(Errc::invalid_argument, "message '" + message.id + "': the ordering key has " +
                                            std::to_string(message.key.size()) + " bytes; at most " +
                                            std::to_string(kKeyBytesMax));
  }
  if (static_cast<std::size_t>(message.priority) >= kPriorities) {
    return fail(Errc::invalid_argument, "message '" + message.id + "' has an unknown priority");
  }
  if (message.event.data.size() > message_bytes_max) {
    return fail(Errc::too_large, "message '" + message.id + "' has " + std::to_string(message.event.data.size()) +
                                     " bytes of data; at most " + std::to_string(message_bytes_max) +
                                     ", store a larger body as an object");
  }
  if (const std::size_t bytes = header_bytes(message.event); bytes > kEventHeaderBytesMax) {
    return fail(Errc::too_large, "message '" + message.id + "' has about " + std::to_string(bytes) +
                                     " bytes of attributes; at most " + std::to_string(kEventHeaderBytesMax));
  }
  return {};
}

Result<void> check_spec(const TopicSpec& spec) {
  if (auto ok = check_topic_name(spec.name); !ok) return ok;
  for (const auto& group : spec.groups) {
    if (auto ok = check_topic_name(group); !ok) return fail(ok.error().with("a group of topic '" + spec.name + "'"));
  }
  if (spec.lease <= std::chrono::milliseconds(0) || spec.lease > kDelayMax) {
    return fail(Errc::invalid_argument, "topic '" + spec.name + "': a lease of " + std::to_string(spec.lease.count()) +
                                            " ms is not between 1 ms and 366 days");
  }
  if (spec.dedupe_window < std::chrono::milliseconds(0) || spec.dedupe_window > kDelayMax) {
    return fail(Errc::invalid_argument, "topic '" + spec.name + "': a dedupe window of " +
                                            std::to_string(spec.dedupe_window.count()) +
                                            " ms is not between 0 and 366 days");
  }
  if (spec.overdue_after <= std::chrono::milliseconds(0) || spec.overdue_after > kDelayMax) {
    return fail(Errc::invalid_argument, "topic '" + spec.name + "': overdue after " +
                                            std::to_string(spec.overdue_after.count()) +
                                            " ms is not between 1 ms and 366 days");
  }
  return {};
}

Result<void> check_delay(std::chrono::milliseconds delay) {
  if (delay < std::chrono::milliseconds(0) || delay > kDelayMax) {
    return fail(Errc::invalid_argument,
                "a delay of " + std::to_string(delay.count()) + " ms is not between 0 and 366 days");
  }
  return {};
}

}  // namespace millrace
