#include "cli/sending.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cli/client.h"
#include "cli/files.h"
#include "core/event.h"

namespace millrace::cli {

std::string Sending::query() const {
  std::string text;
  if (!delay.empty()) text += "&delay=" + encode_part(delay);
  if (!priority.empty()) text += "&priority=" + encode_part(priority);
  return text;
}

void add_sending(CLI::App& command, Sending& sending, CLI::Option* needs) {
  auto* const delay = command.add_option("--delay", sending.delay, "Not before so long from now")->type_name("TIME");
  auto* const priority = command.add_option("--priority", sending.priority, "Among what waits: low, normal or high")
                             ->type_name("PRIORITY");
  if (needs == nullptr) return;
  delay->needs(needs);
  priority->needs(needs);
}

Result<std::string> read_body(const std::string& file) {
  if (file.empty() && isatty(STDIN_FILENO) == 1) return std::string();
  auto body = read_whole(file.empty() ? "-" : file, kEventBytesMax);
  if (!body && body.error().code == Errc::too_large) {
    return fail(Errc::too_large, body.error().message + "; larger inputs go through a bucket: millrace put");
  }
  return body;
}

std::string check_id(const std::string& id) {
  return id.empty() ? "is empty: leave it out, or give one" : "";
}

Result<void> check_header(std::string_view option, std::string_view value) {
  const bool fine =
      std::ranges::none_of(value, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (fine) return {};
  return fail(Errc::invalid_argument, std::string(option) + " contains a control character");
}

}  // namespace millrace::cli
