// A run's outputs as columns of its row: one array for each member, all of one length.
#pragma once

#include <string>
#include <vector>

#include "core/run.h"
#include "state/postgres/answer.h"
#include "state/postgres/parameters.h"

namespace millrace::postgres {

inline constexpr const char* kOutputPrefix = "output_";

// "$7::bytea[], $8::bigint[]", from `first` on.
[[nodiscard]] std::string output_placeholders(int first);
[[nodiscard]] int output_column_count();

void bind_outputs(Parameters& parameters, const std::vector<OutputFile>& outputs);
[[nodiscard]] Result<std::vector<OutputFile>> read_outputs(const Answer& answer, int row, int first_column);

}  // namespace millrace::postgres
