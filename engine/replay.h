// Replay: runs a function on the objects that its inputs hold. What lay there when the function was applied counts as
// seen and has started nothing; a replay makes up for it, or does all of it once more.
//
//   auto replayed = co_await replay.objects("thumbs", Replay::Which::without_a_run, stop);
//   replayed->published;    // 12
//
// The events are those that the objects would have had, or did have, when they appeared: the ids say what happened, so
// a replay that is repeated publishes nothing twice. What is run again gets the next generation and a new order: its
// outputs take the names of the earlier ones, and what they start downstream is new as well.
//
// Threads: the domain loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "core/error.h"
#include "core/event.h"
#include "core/ids.h"
#include "core/run.h"
#include "engine/ingest.h"
#include "engine/registry.h"
#include "engine/run_table.h"
#include "state/state_store.h"
#include "storage/object_store.h"
#include "storage/output_store.h"

namespace millrace {

struct Replayed {
  std::uint64_t published = 0;
  std::uint64_t known = 0;  // have a run that is over, or one that is queued or going on
  std::uint64_t news = 0;   // appeared or changed just now: their own event is on its way
};

class Replay {
 public:
  enum class Which : std::uint8_t { without_a_run, all };

  Replay(EventLoop& loop, const Registry& registry, Ingest& ingest, ObjectStore& objects, OutputStore& outputs,
         StateStore& state, const RunTable& runs, UlidMaker& ulids);

  // One replay at a time, others wait. `not_found`: no such function; `failed_precondition`: it has no inputs;
  // `cancelled`. What was published before an error stays so, and a repetition goes on behind it.
  [[nodiscard]] Task<Result<Replayed>> objects(std::string function, Which which, std::stop_token stop);

 private:
  // What is to be done about one object.
  struct Due {
    std::optional<Event> event;  // none: nothing
    bool known = false;
  };

  Task<Result<void>> replay_input(Trigger trigger, Which which, std::stop_token stop, Replayed& replayed);
  Task<Result<void>> publish(std::shared_ptr<const FunctionSpec> function, std::vector<Event> events,
                             Replayed& replayed);
  Task<Result<Due>> look_at(const Trigger& trigger, ObjectRef object, Which which);
  // The event of the object's appearing, whose id is what a run's is made of.
  Task<Result<Event>> event_of(ObjectRef object);
  Task<Result<const RunRecord*>> maker(RunId run_id);
  // True when a run of this generation is over, queued or going on.
  Task<Result<bool>> has_run(const FunctionSpec& function, EventId event_id, std::uint32_t generation);

  EventLoop& loop_;
  const Registry& registry_;
  Ingest& ingest_;
  ObjectStore& objects_;
  OutputStore& outputs_;
  RunStore& records_;
  SeenStore& seen_;
  const RunTable& runs_;
  UlidMaker& ulids_;
  Semaphore turn_;
  std::optional<RunRecord> maker_;  // outputs of one run come together: its row is read once
};

}  // namespace millrace
