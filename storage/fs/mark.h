// The mark that says which run made a file, and how its name ranks: the extended attribute `user.millrace.mark`, the
// text "1 <order> <generation> <event id> <run id>". Users' copies carry it along, and a function can write what it
// likes until it has ended; marks are believed only on files whose run's row names them.
//
// Threads: any.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "storage/output_store.h"

namespace millrace::fs {

[[nodiscard]] std::string encode_mark(const OutputRank& rank);

// Nothing for what is not exactly a mark of ours.
[[nodiscard]] std::optional<OutputRank> decode_mark(std::string_view text);

// The mark of the entry `name` (one part, never followed) of `directory`. Nothing where there is none, where the file
// system keeps none and where we may not look. `not_found` when the entry is gone; other errors mean "not known".
[[nodiscard]] Result<std::optional<OutputRank>> read_mark(int directory, const std::string& name);

// The same of a descriptor, which may be one of O_PATH.
[[nodiscard]] Result<std::optional<OutputRank>> read_mark(int file);

// Gives `to` the user.* attributes of `from`, marks excepted: 0 or errno.
[[nodiscard]] int copy_attributes(int from, int to);

// Sets the mark on an open file and removes every other `user.millrace.` attribute: 0 or errno.
[[nodiscard]] int write_mark(int fd, const OutputRank& rank);

}  // namespace millrace::fs
