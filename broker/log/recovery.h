// Reads a log directory back into topics, and says where to go on writing.
//
// Only what follows the last whole batch of the newest segment may be broken: that is what a crash leaves. Anything
// broken before it is damage to what was confirmed: the log refuses to open, names file and offset, and touches
// nothing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "broker/log/log_files.h"
#include "broker/log/segment_format.h"
#include "broker/topic_state.h"
#include "core/error.h"

namespace millrace::wal {

struct Segment {
  std::shared_ptr<LogFile> file;
  std::string name;
  SegmentHeader header;
  std::uint64_t used_bytes = kSegmentHeaderBytes;  // where the next record goes
};

// What the log looked like; the last of `segments` is the one to go on with.
struct Recovered {
  std::unique_ptr<TopicTable> topics;
  std::vector<std::pair<GroupState*, Entry*>> cut_off;  // attempts without an outcome: each counted a loss
  std::map<std::uint32_t, Segment> segments;
  std::vector<Segment> prepared;     // empty ones to come, in order
  std::vector<std::string> spares;   // files without contents that can be used again
  std::vector<std::string> foreign;  // files that are not of a log, and stay as they are
  std::vector<std::string> stale;    // segments that were given up just before the end: to become spares
  IdKey id_key{};
  std::uint64_t last_batch = 0;
  std::uint64_t messages = 0;
  std::uint64_t dropped_bytes = 0;  // of an unfinished batch at the end
};

// Where a log that does not open is damaged.
struct DamagedPlace {
  std::string file;  // empty: no single place
  std::uint64_t offset = 0;
};

struct RecoveryOptions {
  std::uint64_t segment_bytes = 64ULL << 20;
  std::size_t dedupe_ids_max = 1'000'000;
  EventLoop::TimePoint now;  // of the loop
  std::chrono::system_clock::time_point wall_now;
  bool look_only = false;          // writes nothing, not even over an unfinished batch
  DamagedPlace* damage = nullptr;  // filled in when the answer is data_loss
};

// Blocks. An empty directory gives an empty log without segments.
[[nodiscard]] Result<Recovered> recover(LogFiles& files, const RecoveryOptions& options);

// The name of the segment with this epoch.
[[nodiscard]] std::string segment_name(std::uint32_t epoch);
[[nodiscard]] std::optional<std::uint32_t> epoch_of(std::string_view name);  // nothing: no segment is called that
[[nodiscard]] bool is_spare(std::string_view name);
inline constexpr std::string_view kSpareName = "spare-";

}  // namespace millrace::wal
