// Whether a function could use its buckets, looked at without changing anything (ObjectStore::check_buckets).
//
// Threads: any; blocks.
#pragma once

#include "core/error.h"
#include "storage/fs/buckets.h"
#include "storage/object_store.h"

namespace millrace::fs {

[[nodiscard]] Result<void> check_buckets(Buckets& buckets, const FunctionBuckets& wanted);

}  // namespace millrace::fs
