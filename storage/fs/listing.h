// Listing a bucket in key order, a page at a time, in memory bounded by the page.
//
// Threads: any; blocks.
#pragma once

#include <cstddef>
#include <string>

#include "core/error.h"
#include "storage/object_store.h"

namespace millrace::fs {

// The objects below the directory `bucket` whose keys start with `prefix` and come after `after`.
[[nodiscard]] Result<Listing> list_objects(int bucket, const std::string& prefix, const std::string& after,
                                           std::size_t limit);

}  // namespace millrace::fs
