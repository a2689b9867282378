// Looks into a log without opening it: what it holds, and whether it is whole. Changes nothing.
//
//   auto files = open_log_directory_to_read("/var/lib/millrace/log");
//   const auto found = inspect_log(**files, std::chrono::system_clock::now());
//   if (found && found->health == LogHealth::damaged) complain(found->damage->message);
//
// Recovery itself is the judge: a log is damaged exactly where the broker would refuse to open it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "broker/log/log_files.h"
#include "core/error.h"

namespace millrace {

enum class LogHealth : std::uint8_t {
  whole,
  torn,    // ends in a batch that is not whole, as a crash leaves it: the next start drops it
  damaged  // something confirmed is not readable: the log does not open
};
enum class SegmentState : std::uint8_t {
  full,      // sealed, the next one goes on
  active,    // is written
  empty,     // made ahead of time
  given_up,  // nothing in it counts; a crash kept the file
  spare,     // without contents that count
  unknown    // of a damaged log
};
[[nodiscard]] std::string_view name_of(LogHealth health);
[[nodiscard]] std::string_view name_of(SegmentState state);

struct InspectedSegment {
  std::string file;
  SegmentState state = SegmentState::unknown;
  std::uint32_t epoch = 0;  // 0: of a spare, or unreadable
  std::uint64_t size_bytes = 0;
  std::uint64_t used_bytes = 0;  // header and whole batches
  std::uint64_t live_bytes = 0;  // of messages that some group has not settled; 0 in a damaged log
};

struct InspectedGroup {
  std::string name;
  std::uint64_t pending = 0;  // those behind another of their key included
  std::uint64_t in_work = 0;  // an attempt has begun and has no outcome: lost, should the log be opened now
  std::uint64_t delayed = 0;
  std::uint64_t dead = 0;
  std::optional<std::chrono::milliseconds> oldest{};  // age of the oldest message that is not dead; nothing without any
};

struct InspectedTopic {
  std::string name;
  std::uint64_t messages = 0;  // retained, dead ones and those nobody has subscribed to included
  std::uint64_t size_bytes = 0;
  std::vector<InspectedGroup> groups;
};

// What may be missing from a topic: messages with these sequence numbers, or what a group did with them.
struct AffectedTopic {
  std::string name;  // or "number N" where the name is not readable
  std::uint64_t first = 0;
  std::optional<std::uint64_t> last;  // nothing: everything from there on
};

struct LogDamage {
  std::string message;
  std::string file;  // empty: no single place
  std::uint64_t offset = 0;
  std::uint64_t unreadable_from = 0;  // in that file; from == to when nothing in it is unreadable
  std::uint64_t unreadable_to = 0;
  std::vector<AffectedTopic> affected;
};

struct LogInspection {
  LogHealth health = LogHealth::whole;
  std::uint32_t format_version = 0;
  std::vector<InspectedSegment> segments;  // by name
  std::vector<std::string> other_files;    // not of a log
  std::uint64_t last_batch = 0;
  // What was read, unless the log is damaged.
  std::uint64_t messages = 0;
  std::vector<InspectedTopic> topics;  // by name
  // torn:
  std::string torn_file;
  std::uint64_t torn_from = 0;
  std::uint64_t torn_bytes = 0;
  // damaged:
  std::optional<LogDamage> damage;
};

// Blocks, and reads every byte that is in use. Memory: one segment, and what the broker itself would need without its
// cache. Errors: failed_precondition (a process has the log open, or a newer Millrace wrote it), not_found (there is no
// segment), what reading says. Damage is no error.
[[nodiscard]] Result<LogInspection> inspect_log(LogFiles& files, std::chrono::system_clock::time_point now);

}  // namespace millrace
