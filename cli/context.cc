#include "cli/context.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "cli/exit_codes.h"
#include "cli/text.h"

namespace millrace::cli {
namespace {

std::string environment(const char* name) {
  const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): nothing here sets variables
  return value == nullptr ? std::string() : std::string(value);
}

// A server that was told to take a free port leaves its address in its data directory.
std::string url_of_data(const std::string& data) {
  std::ifstream file(data + "/listen");
  std::string address;
  std::getline(file, address);
  return address.empty() ? std::string() : "http://" + address;
}

std::string first_of(std::string first, std::string second) {
  return first.empty() ? std::move(second) : std::move(first);
}

}  // namespace

Client& Context::client() {
  if (!client_) {
    const std::string data = first_of(globals_.data, environment("MILLRACE_DATA"));
    ClientOptions options;
    options.url = first_of(globals_.url, environment("MILLRACE_URL"));
    if (options.url.empty() && !data.empty()) options.url = url_of_data(data);
    if (options.url.empty()) options.url = kDefaultUrl;
    options.token = environment("MILLRACE_TOKEN");
    if (options.token.empty()) {
      const auto directory = token_directory(options.url, data);
      token_withheld_ = !directory;
      token_file_ = directory.value_or(kDefaultData) + "/admin-token";
      if (directory) options.token = token_in(token_file_);
      token_found_ = !options.token.empty();
    }
    client_ = std::make_unique<Client>(std::move(options));
  }
  return *client_;
}

bool Context::colours() const {
  return isatty(STDOUT_FILENO) == 1 && environment("NO_COLOR").empty();
}

void Context::print(std::string_view text) {
  (void)std::fwrite(text.data(), 1, text.size(), stdout);
}

void Context::print_json(const Json& json) {
  print(json.dump_indented() + "\n");
}

void Context::print_table(const Table& table) {
  if (!table.empty()) print(table.to_text(colours()));
}

void Context::pass_on_warnings(const Json& function) {
  const Json* warnings = function.find("warnings");
  if (warnings == nullptr) return;
  for (const auto& warning : warnings->items()) {
    const std::string* text = warning.string();
    complain("warning: " + function.string_or("name", "") + ": " + (text == nullptr ? warning.dump() : *text));
  }
}

void Context::complain(std::string_view text) {
  const std::string line = "millrace: " + printable_lines(text) + "\n";
  (void)std::fwrite(line.data(), 1, line.size(), stderr);
}

void Context::finish(const Result<int>& result) {
  exit_code_ = result ? *result : exit_code(result.error().code);
  // A result that did not reach its reader is no success: a full disk behind a redirection, say.
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (!result) complain(explained(result.error()));
  if (written) return;
  complain("cannot write to the standard output");
  if (exit_code_ == kOk) exit_code_ = kFailed;
}

std::string Context::explained(const Error& error) const {
  if (error.code != Errc::unauthenticated || token_file_.empty() || token_found_) return error.message;
  if (token_withheld_) {
    return error.message + " (MILLRACE_TOKEN is not set, and the token in " + token_file_ +
           " is not sent to another machine: set MILLRACE_TOKEN to the token of that server)";
  }
  return error.message + " (MILLRACE_TOKEN is not set, and " + token_file_ +
         " cannot be read: run as the server's user, or say --data)";
}

}  // namespace millrace::cli
