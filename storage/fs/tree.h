// Trees that a function made: measured and removed without trust. Symbolic links are never followed, folders without
// rights are opened all the same (they belong to us), and no depth or number of entries makes a call go on for ever.
//
// Threads: any; blocks.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/error.h"
#include "core/fd.h"
#include "storage/output_store.h"

namespace millrace::fs {

// Opens the directory `name` (one part) of `parent` for reading and changing, giving us the rights its maker took away.
// An invalid Fd leaves the reason in errno.
[[nodiscard]] Fd open_own_directory(int parent, const std::string& name);

// Stops counting as soon as it is over a limit.
[[nodiscard]] Result<AttemptUsage> measure_tree(Fd directory, const SealLimits& limits);

// Bytes a file counts: its length, or what it occupies if that is more (space reserved beyond the end).
[[nodiscard]] std::uint64_t counted_bytes(const struct stat& status);

// Removes `name` of `parent` with everything in it, but at most `entries_max` entries: true when nothing is left of it.
[[nodiscard]] Result<bool> remove_tree(int parent, const std::string& name, std::size_t entries_max);

}  // namespace millrace::fs
