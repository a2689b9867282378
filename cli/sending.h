// What the commands have in common that send an event: its body, and how it is sent on its way.
#pragma once

#include <string>
#include <string_view>

#include "core/error.h"

namespace CLI {  // NOLINT(readability-identifier-naming): the name is theirs
class App;
class Option;
}  // namespace CLI

namespace millrace::cli {

// For the server to read: it knows what it accepts.
struct Sending {
  std::string delay;
  std::string priority;

  [[nodiscard]] std::string query() const;  // begins with '&', or is empty
};

// `needs`: without this option neither has a meaning; null: they always have.
void add_sending(CLI::App& command, Sending& sending, CLI::Option* needs);

// From `file`, or from stdin unless that is a terminal: somebody who just types the command has no input.
[[nodiscard]] Result<std::string> read_body(const std::string& file);

// A header is one line: anything else would be a header of its own.
// For an option `--id`: one that is empty, as that of an unset variable, would protect from nothing.
[[nodiscard]] std::string check_id(const std::string& id);

[[nodiscard]] Result<void> check_header(std::string_view option, std::string_view value);

}  // namespace millrace::cli
