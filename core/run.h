// Run: one function on one event. Its committed record is what stands of it, however often it was attempted.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/event.h"
#include "core/ids.h"

namespace millrace {

using WallTime = std::chrono::system_clock::time_point;

enum class RunState : std::uint8_t {
  queued,
  waiting_retry,
  admitted,
  staging_in,
  starting,
  running,
  staging_out,
  placing,
  publishing,
  done,
};

// How one attempt ended.
enum class AttemptOutcome : std::uint8_t {
  succeeded,
  failed,  // exit code other than 0, or a signal that was not ours
  timed_out,
  out_of_memory,
  output_too_large,
  cancelled,
  lost,  // its worker, launcher or host died
};

// How the run ended.
enum class RunOutcome : std::uint8_t {
  succeeded,
  dead_lettered,  // every final failure of an event
  failed,         // of a synchronous call, or with `dead_letter: off`
  cancelled,
  skipped,  // its input was gone or replaced: the new content has its own event
};

[[nodiscard]] std::string_view name_of(RunState state);
[[nodiscard]] std::string_view name_of(AttemptOutcome outcome);
[[nodiscard]] std::string_view name_of(RunOutcome outcome);
[[nodiscard]] std::optional<RunState> run_state_from_name(std::string_view name);
[[nodiscard]] std::optional<AttemptOutcome> attempt_outcome_from_name(std::string_view name);
[[nodiscard]] std::optional<RunOutcome> run_outcome_from_name(std::string_view name);

// What one attempt used. Times in microseconds.
struct Usage {
  std::uint64_t wall_us = 0;    // function's first instruction to its end
  std::uint64_t queued_us = 0;  // event's ingest to the attempt's admission
  std::uint64_t start_us = 0;   // request to the function's exec
  std::uint64_t cpu_us = 0;
  std::uint64_t memory_peak_bytes = 0;  // of the group, page cache included; 0: not measured here
  std::uint64_t rss_peak_bytes = 0;     // of the largest process
  std::uint64_t read_bytes = 0;
  std::uint64_t written_bytes = 0;
  std::uint64_t throttled_us = 0;        // held back by its quota of cpu
  std::uint64_t output_bytes = 0;        // left in TMP_OUTPUT_DIR, whether or not an output wants it
  std::uint64_t memory_limit_bytes = 0;  // what was set aside for it

  // What is paid for where memory is: what was set aside, for as long as the function ran.
  [[nodiscard]] double gb_seconds() const {
    return static_cast<double>(memory_limit_bytes) / (1 << 30) * static_cast<double>(wall_us) / 1e6;
  }
};

// One execution. Durable before anything runs; completed when it ended.
struct Attempt {
  RunId run_id;
  AttemptToken token;
  std::string bucket;  // where its private directory lies; empty: the function has no outputs
  std::string node;
  WallTime started_at{};
  WallTime ended_at{};  // epoch: not ended, or nobody saw it end
  std::optional<AttemptOutcome> outcome;
  int exit_code = 0;    // of the function, when it exited
  int signal = 0;       // that ended it, else 0
  std::string message;  // why, for people; empty on success
  Usage usage;
};

// One result of a run: a file under one of the function's output paths, or an event on a topic.
//
// A file: the function made `source_path`; it appears for the user as bucket and key by a link to the very same file,
// so `placed` says which object is ours. What downstream functions read is the private copy, which nobody can change or
// replace.
//
// An event: `store` is kTopicStore or kStructuredTopicStore, `bucket` the topic, `key` the file's name. Its data is the
// private copy; without one it is what the function printed, the record's `result`.
struct OutputFile {
  std::string name;  // relative to TMP_OUTPUT_DIR
  std::string store = "local";
  std::string bucket;
  std::string key;
  std::string source_path;   // below the store's root
  ObjectVersion placed;      // of the file at source_path, and so of the one under the user's name
  std::string private_path;  // below the store's root
  ObjectVersion version;     // of the private copy
  std::string sha256;        // 64 hex digits

  [[nodiscard]] bool is_event() const;
};
inline constexpr std::string_view kTopicStore = "topic";
inline constexpr std::string_view kStructuredTopicStore = "topic-structured";  // published in structured mode
inline bool OutputFile::is_event() const {
  return store == kTopicStore || store == kStructuredTopicStore;
}

// The create-only row: run record and outbox in one. Nobody changes it afterwards but for the two marks.
struct RunRecord {
  RunId run_id;
  EventId event_id;
  std::string function;
  FunctionUid function_uid;
  std::uint64_t revision = 0;
  std::uint32_t generation = 0;
  Order order;
  RunId cause;
  std::uint32_t hops = 0;
  std::optional<ObjectRef> input;

  RunOutcome outcome = RunOutcome::succeeded;
  std::string reason;  // why it did not succeed
  int exit_code = 0;
  int signal = 0;
  std::uint32_t failures = 0;  // attempts that ended with an outcome other than success, this one included
  std::uint32_t losses = 0;
  AttemptToken token;  // the attempt that won
  std::string node;
  WallTime queued_at{};
  WallTime started_at{};
  WallTime committed_at{};
  Usage usage;
  std::string log_tail;           // at most kLogTailBytesMax, stderr and stdout as they came
  std::uint64_t log_bytes = 0;    // all that was written, kept or not
  std::string result;             // stdout of a synchronous call, or what is an output; empty otherwise
  bool result_truncated = false;  // of a call that printed more than limits.result
  std::vector<OutputFile> outputs;

  bool placed = false;
  bool published = false;
};

inline constexpr std::size_t kLogTailBytesMax = 64 << 10;

}  // namespace millrace
