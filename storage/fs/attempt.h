// One attempt's directory on disk, `.millrace/<2 hex>/<run>-<token>/`. What the function leaves in it stays there as
// the private copies.
//
// Threads: any; blocks.
#pragma once

#include <string>

#include "core/error.h"
#include "storage/fs/buckets.h"
#include "storage/output_store.h"

namespace millrace::fs {

// `invalid_argument` for ids that would not be plain names.
[[nodiscard]] Result<void> check_attempt(const AttemptPlace& place);

[[nodiscard]] std::string attempt_path(const AttemptPlace& place);  // below its bucket

// `already_exists` for a token that has one.
[[nodiscard]] Result<AttemptDirectory> make_attempt_directory(Bucket& bucket, const AttemptPlace& place);

// An invalid Fd leaves the reason in errno.
[[nodiscard]] Fd open_attempt(const Bucket& bucket, const AttemptPlace& place);

// The caller syncs the file system before anybody relies on what was sealed: 0.36 ms where fsync() of one file, its
// copy and their folders takes 1.2, and 8 against 44 for a hundred files.
[[nodiscard]] Result<Sealed> seal_attempt(Bucket& bucket, const AttemptPlace& place, const SealLimits& limits,
                                          const OutputRank& rank);

// Removes up to `entries_max` entries of the attempt's directory, and at last itself: true when nothing is left to be
// removed.
[[nodiscard]] Result<bool> remove_attempt_step(const Bucket& bucket, const AttemptPlace& place,
                                               std::size_t entries_max);

// What this process may still write to the file system of `directory`.
[[nodiscard]] Result<std::uint64_t> free_bytes(int directory, const std::string& label);

}  // namespace millrace::fs
