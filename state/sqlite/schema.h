// The tables, and how a database of an earlier build becomes one of this build.
#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"
#include "state/sqlite/database.h"

namespace millrace::sqlite {

// PRAGMA user_version of what this build writes.
inline constexpr std::int64_t kSchemaVersion = 6;

// Makes a fresh connection ready for writing: looks whether the file is ours and of a version we know, before anything
// in it is changed, creates or migrates the tables, and sets how it syncs. `size_bytes_max` bounds the file.
[[nodiscard]] Result<void> prepare_for_writing(Database& database, std::uint64_t size_bytes_max);

// What the store is told by, see StateStore::id(); once it is ready.
[[nodiscard]] Result<std::string> store_id(Database& database);

// The same for a second connection that only reads, once the first is ready.
[[nodiscard]] Result<void> prepare_for_reading(Database& database);

}  // namespace millrace::sqlite
