// The examiner decides on one candidate: is there a whole new object under this name, and if so it is published.
//
// A notification and a scan only say "look here". Taken is what is a regular file, differs from what its triggers have
// seen, is not an output that we placed ourselves, is open for writing nowhere, and was left alone for as long as the
// functions ask (`settle`; where the host cannot tell writers, at least kBlindSettle). With several functions on one
// object the longest of their times counts.
//
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "async/event_loop.h"
#include "engine/ingest.h"
#include "engine/placed_names.h"
#include "engine/registry.h"
#include "producers/candidates.h"
#include "producers/own_outputs.h"
#include "producers/probe.h"
#include "runtime/executor.h"
#include "state/state_store.h"
#include "storage/object_store.h"
#include "telemetry/log.h"

namespace millrace {

// How long a file must stay unchanged where nobody can say whether it is still being written.
inline constexpr std::chrono::milliseconds kBlindSettle{2'000};

class Examiner final : public CandidateExaminer {
 public:
  Examiner(EventLoop& loop, const Registry& registry, ObjectStore& objects, WriteCheck& checks,
           const PlacedNames& placed, OwnOutputs& own, SeenStore& seen, Ingest& ingest, Log& log);

  Task<Verdict> examine(ObjectName name, std::optional<Settling> settling) override;

 private:
  // True for most notifications that our own placing causes: one look at the file then is all they cost.
  Task<bool> was_just_placed(ObjectName name);
  // The triggers that the object is new for.
  Task<Result<std::vector<Trigger>>> news_for(std::vector<Trigger> triggers, ObjectRef object);
  Verdict trouble(const ObjectName& name, const Error& error);
  Verdict failure(const ObjectName& name, const Error& error);

  EventLoop& loop_;
  const Registry& registry_;
  ObjectStore& objects_;
  WriteCheck& checks_;
  const PlacedNames& placed_;
  OwnOutputs& own_;
  SeenStore& seen_;
  Ingest& ingest_;
  Log& log_;
};

}  // namespace millrace
