// The variables of a function's environment that the server sets itself: its contract with the function, which no
// function's own `environment` may take away. PATH, HOME, TMPDIR and LC_CTYPE are defaults and not among them.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace millrace {

inline constexpr std::array<std::string_view, 20> kReservedEnvironment{"EVENT",
                                                                       "EVENT_TIME",
                                                                       "FILE_NAME",
                                                                       "INPUT_FILE",
                                                                       "INPUT_FILE_PATH",
                                                                       "JOB_UUID",
                                                                       "MILLRACE_EVENT_CONTENT_TYPE",
                                                                       "MILLRACE_EVENT_ID",
                                                                       "MILLRACE_EVENT_SOURCE",
                                                                       "MILLRACE_EVENT_SUBJECT",
                                                                       "MILLRACE_EVENT_TYPE",
                                                                       "MILLRACE_FUNCTION",
                                                                       "MILLRACE_RUN_ID",
                                                                       "OSCAR_SERVICE_NAME",
                                                                       "REQUEST_ID",
                                                                       "RESOURCE_ID",
                                                                       "SCRIPT",
                                                                       "STORAGE_OBJECT_KEY",
                                                                       "TMP_INPUT_DIR",
                                                                       "TMP_OUTPUT_DIR"};

[[nodiscard]] constexpr bool is_reserved_variable(std::string_view name) {
  return std::ranges::find(kReservedEnvironment, name) != kReservedEnvironment.end();
}

}  // namespace millrace
