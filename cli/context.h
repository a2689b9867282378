// What a command works with: the server it talks to, where it prints, and how it ends.
//
//   sub->callback([context, options] { context->finish(list_functions(*context, *options)); });
//
// Single-threaded; lives as long as the parser that holds the commands.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/table.h"
#include "core/error.h"
#include "formats/json.h"

namespace millrace::cli {

class Context {
 public:
  Context(const Globals& globals, int& exit_code) : globals_(globals), exit_code_(exit_code) {}

  // Made at the first call, when all options are known.
  [[nodiscard]] Client& client();

  [[nodiscard]] bool json() const { return globals_.json; }
  [[nodiscard]] bool colours() const;  // stdout is a terminal and NO_COLOR is not set

  // To stdout. Failures show at finish().
  void print(std::string_view text);
  void print_json(const Json& json);     // indented
  void print_table(const Table& table);  // nothing when it has no rows

  // To stderr, as "millrace: <text>".
  static void complain(std::string_view text);
  // What the server warns of about one function.
  static void pass_on_warnings(const Json& function);

  // The command's end: its exit code, or the message of its error.
  void finish(const Result<int>& result);

 private:
  [[nodiscard]] std::string explained(const Error& error) const;

  const Globals& globals_;
  int& exit_code_;
  std::unique_ptr<Client> client_;
  std::string token_file_;       // where a token is looked for, when MILLRACE_TOKEN holds none
  bool token_withheld_ = false;  // since the server is on another machine
  bool token_found_ = false;     // there
};

}  // namespace millrace::cli
