// What waits in the groups of an embedded broker, for those who look.
#include <algorithm>
#include <charconv>
#include <utility>

#include "broker/embedded_broker.h"
#include "broker/embedded_core.h"
#include "broker/input_checks.h"

namespace millrace {
namespace {

using embedded::GroupRuntime;

Result<std::uint64_t> seq_behind(const std::string& position) {
  if (position.empty()) return 0;
  std::uint64_t seq = 0;
  const char* const end = position.data() + position.size();
  const auto parsed = std::from_chars(position.data(), end, seq);
  if (parsed.ec == std::errc() && parsed.ptr == end) return seq + 1;
  return fail(Errc::invalid_argument, "'" + position.substr(0, kIdBytesMax) +
                                          "' is no position among the messages that wait: take that of the last one");
}

bool waits(GroupRuntime& group, std::uint64_t seq) {
  const Message* message = group.topic.find(seq);
  return message != nullptr && (message->open & group.group.bit()) != 0 && group.group.find_dead(seq) == nullptr;
}

std::optional<std::uint64_t> next_waiting(GroupRuntime& group, std::uint64_t from) {
  auto seq = group.topic.next(from);
  while (seq && !waits(group, *seq)) seq = group.topic.next(*seq + 1);
  return seq;
}

WaitingMessage look_at(GroupRuntime& group, std::uint64_t seq, const StoredMessage& stored, EventLoop::TimePoint now) {
  WaitingMessage message{
      .position = std::to_string(seq), .event = stored.event, .published_at = stored.published_at, .counters = {}};
  message.blocked = group.group.is_blocked(seq);
  const Entry* entry = group.group.find(seq);
  if (entry == nullptr) return message;
  message.counters = entry->counters;
  message.redrives = entry->redrives;
  if (const auto due = entry->due()) {
    message.due_in = std::chrono::ceil<std::chrono::milliseconds>(std::max(*due - now, EventLoop::Duration(0)));
  }
  return message;
}

using Read = std::vector<std::pair<std::uint64_t, std::shared_ptr<const StoredMessage>>>;

// From `at` on, which is behind the last one then.
Task<Result<Read>> read_page(embedded::Core& core, std::string topic, std::string group, std::size_t limit,
                             std::uint64_t& at) {
  Read read;
  for (std::size_t bytes = 0; read.size() < limit && bytes < kDeadLetterPageBytesMax;) {
    auto found = core.find(topic, group);
    if (!found) co_return fail(found.error());
    const auto seq = next_waiting(**found, at);
    if (!seq) break;
    auto stored = (*found)->topic.content(*seq);
    if (!stored) {
      const auto loaded = co_await core.journal->load((*found)->topic, *seq, true);
      if (!loaded) co_return fail(loaded.error());
      found = core.find(topic, group);
      if (!found) co_return fail(found.error());
      stored = (*found)->topic.content(*seq);
    }
    at = *seq + 1;
    if (!stored) continue;  // done meanwhile
    bytes += header_bytes(stored->event) + stored->event.data.size();
    read.emplace_back(*seq, std::move(stored));
  }
  co_return read;
}

}  // namespace

// Reading may take a while in which all may change, the group may even go: what was read is looked at once more at the
// end, in one step.
Task<Result<std::vector<WaitingMessage>>> EmbeddedBroker::waiting(std::string topic, std::string group,
                                                                  std::string after, std::size_t limit) {
  auto at = seq_behind(after);
  if (!at) co_return fail(at.error());
  const auto core = core_;
  for (;;) {
    const auto read = co_await read_page(*core, topic, group, std::min(limit, kDeadLetterPageMax), *at);
    if (!read) co_return fail(read.error());
    auto found = core->find(topic, group);
    if (!found) co_return fail(found.error());
    std::vector<WaitingMessage> messages;
    for (const auto& [seq, stored] : *read) {
      if (waits(**found, seq)) messages.push_back(look_at(**found, seq, *stored, core->loop.now()));
    }
    if (!messages.empty() || read->empty()) co_return messages;  // of a page that was done meanwhile: the next one
  }
}

}  // namespace millrace
