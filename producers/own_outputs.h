// Tells what our own runs placed from everything else. The mark on a file only names a run: whoever copies an output
// copies the mark. Ours is an object that the run's committed row names exactly: bucket, key, inode, size and time.
//
// Rows never change, so the outputs of the last few runs are kept: one run may have placed a hundred thousand names.
// Threads: the domain loop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <string>
#include <unordered_set>

#include "async/event_loop.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "core/error.h"
#include "core/event.h"
#include "core/run.h"
#include "state/state_store.h"
#include "storage/output_store.h"

namespace millrace {

enum class Ownership : std::uint8_t {
  foreign,
  publishing,  // ours, and whoever finishes the run will write its `seen` rows
  published,   // ours, and nobody will write a row any more
};

class OwnOutputs {
 public:
  OwnOutputs(EventLoop& loop, OutputStore& outputs, RunStore& runs)
      : outputs_(outputs), runs_(runs), loading_(loop, 1) {}

  // `not_found` when the object is gone or replaced.
  [[nodiscard]] Task<Result<Ownership>> of(ObjectRef object);

 private:
  struct Run {
    RunId run_id;
    bool published = false;  // when it was read
    std::unordered_set<std::string> outputs;
  };

  Task<Result<const Run*>> load(RunId run_id);
  const Run* remember(const RunRecord& record);

  OutputStore& outputs_;
  RunStore& runs_;
  Semaphore loading_;    // outputs of one run come together: the first one reads the row for all
  std::list<Run> kept_;  // the latest used first
  std::size_t kept_outputs_ = 0;
};

}  // namespace millrace
