// The first fill: what lies below a trigger's path when its function is applied counts as seen and does not run.
//
// Not so what is still being written: such names get no row and become candidates.
// Threads: the domain loop.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "core/error.h"
#include "engine/registry.h"
#include "runtime/executor.h"
#include "storage/object_store.h"

namespace millrace {

struct FirstRows {
  std::map<std::string, EventId> rows;
  std::vector<std::string> unfinished;  // keys that somebody may still be writing
};

class FirstFill {
 public:
  struct Options {
    std::size_t page = 1'000;
    std::size_t probes_max = 32;  // at a time
  };

  FirstFill(EventLoop& loop, ObjectStore& objects, WriteCheck& checks, Options options);

  // Lists the trigger's folder and probes every object that its function wants.
  [[nodiscard]] Task<Result<FirstRows>> collect(Trigger trigger);

 private:
  Task<void> look(const Trigger& trigger, const ObjectInfo& info, FirstRows& found, Result<void>& result);
  [[nodiscard]] bool left_alone(const FunctionSpec& function, const ObjectVersion& version, WriteState state) const;

  EventLoop& loop_;
  ObjectStore& objects_;
  WriteCheck& checks_;
  Options options_;
  Semaphore probes_;
};

}  // namespace millrace
