// The directories of attempts that are there, a page at a time, in memory bounded by the page and by one 256th of a
// bucket's attempts.
//
// Threads: any; blocks.
#pragma once

#include <cstddef>
#include <vector>

#include "core/error.h"
#include "storage/fs/buckets.h"
#include "storage/output_store.h"

namespace millrace::fs {

// See OutputStore::attempts(). A bucket whose directory is not there has none. One that cannot be read keeps no other
// back: it is an error of the page behind all others.
[[nodiscard]] Result<std::vector<FoundAttempt>> list_attempts(Buckets& buckets, const AttemptPlace& after,
                                                              std::size_t limit);

}  // namespace millrace::fs
