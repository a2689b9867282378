// What is known of a run while it goes on, and those who are told of it as it does.
#pragma once

#include <cstdint>
#include <string>

#include "core/event.h"
#include "core/ids.h"
#include "core/run.h"

namespace millrace {

struct LiveRun {
  RunId run_id;
  EventId event_id;
  std::string function;
  std::string topic = {};  // that its event is on
  std::string key;         // of the input object, if any
  RunState state = RunState::queued;
  WallTime since{};  // in this state
  WallTime queued_at{};
  std::uint32_t failures = 0;
  std::uint32_t losses = 0;
  bool awaited = false;  // another node waits for its result
};

// How a run ended: what of its record is worth telling at once.
struct RunEnd {
  RunOutcome outcome = RunOutcome::succeeded;
  std::string reason = {};
  int exit_code = 0;
  int signal = 0;
  std::uint32_t failures = 0;
  std::uint32_t losses = 0;
  Usage usage = {};

  [[nodiscard]] static RunEnd of(const RunRecord& record);
};

// Told in the step in which it happens: only to be noted, nothing may be asked or changed from in there.
class RunListener {
 public:
  virtual ~RunListener() = default;

  virtual void run_changed(const LiveRun& run) = 0;                   // queued, waiting again, or a step further
  virtual void run_ended(const LiveRun& run, const RunEnd& end) = 0;  // its outputs are placed and published
};

}  // namespace millrace
