// One look at an object: which version is there, and is anybody still writing it?
#pragma once

#include "async/task.h"
#include "core/error.h"
#include "core/event.h"
#include "runtime/executor.h"
#include "storage/object_store.h"

namespace millrace {

struct Probe {
  ObjectVersion version;
  WriteState state = WriteState::unknown;
};

// `quiet` means that nobody had `version` open for writing after it was read. A file that changes under the look counts
// as open for writing. One that we may not read is `unknown`: its run will say what is missing. Errors as
// ObjectStore::open, but for permission_denied; and retryable ones of the check.
[[nodiscard]] Task<Result<Probe>> probe(ObjectStore& objects, WriteCheck& checks, ObjectRef object);

}  // namespace millrace
