// What stands in the records behind their heads, to and from bytes. Decoders take any bytes and answer data_loss.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "broker/message_digest.h"
#include "broker/topic_state.h"
#include "core/error.h"

namespace millrace::wal {

struct MessageBody {
  std::uint64_t open = 0;         // groups that have not settled it
  std::int64_t published_ms = 0;  // since 1970, as all times here
  std::uint64_t delay_ms = 0;     // not delivered earlier than so long after that
  std::uint32_t content = 0;      // digest_content of the event
  Priority priority = Priority::normal;
  std::int64_t known_until_ms = 0;  // its id is remembered so long
  std::string_view key{};           // its ordering key; empty: none
  std::string_view id;
  std::string_view event{};  // encode_event; may also be appended to what encode() wrote
};

struct EntryBody {
  bool begun = false;
  Counters counters;
  std::uint32_t redrives = 0;
  std::int64_t written_ms = 0;
  std::uint64_t delay_ms = 0;  // ready so long after that
};

struct TopicBody {
  std::uint64_t lease_ms = 0;
  std::uint64_t dedupe_window_ms = 0;
  std::uint64_t bytes_max = 0;
  std::uint64_t messages_max = 0;
  std::uint64_t overdue_after_ms = 0;
  std::string_view name{};  // empty: the topic is removed here, with all that it has, and its number is free
};

struct GroupBody {
  enum class Says : std::uint8_t {
    name,     // a repetition of what was said further in front
    added,    // at this place in the log: everything retained is open to it
    removed,  // nothing is open to it from here on, and its number may become another's
  };
  Says says = Says::name;
  std::string_view name;  // empty: removed
};

struct KnownId {
  IdDigest id;
  std::uint32_t content = 0;
  std::int64_t until_ms = 0;
};

void encode(std::string& out, const MessageBody& body);
void encode(std::string& out, const EntryBody& body);
void encode(std::string& out, const DeadEntry& body);
void encode(std::string& out, const TopicBody& body);
void encode(std::string& out, const GroupBody& body);
void encode(std::string& out, const std::vector<KnownId>& body);

[[nodiscard]] Result<MessageBody> decode_message(std::string_view bytes);  // views into `bytes`, as below
[[nodiscard]] Result<EntryBody> decode_entry(std::string_view bytes);
[[nodiscard]] Result<DeadEntry> decode_dead(std::string_view bytes);
[[nodiscard]] Result<TopicBody> decode_topic(std::string_view bytes);
[[nodiscard]] Result<GroupBody> decode_group(std::string_view bytes);
[[nodiscard]] Result<std::vector<KnownId>> decode_ids(std::string_view bytes);

// The message a record holds, with its event decoded.
[[nodiscard]] Result<StoredMessage> stored_message(const MessageBody& body);

}  // namespace millrace::wal
