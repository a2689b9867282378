// Arguments, environment and host name on their way into config.json: whatever they hold, the text is one JSON object
// whose strings they are, or it is refused.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "formats/json.h"
#include "runtime/launcher/json_text.h"
#include "runtime/launcher/oci_config.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace millrace;
  const std::string text(reinterpret_cast<const char*>(data), size);
  const std::string argument = text.c_str();  // up to the first NUL, as execve sees it
  const std::array<const char*, 3> arguments{"/bin/x", argument.c_str(), nullptr};
  const std::array<const char*, 2> environment{argument.c_str(), nullptr};
  launcher::OciConfig config;
  config.arguments = arguments.data();
  config.environment = environment.data();
  config.root = "root";
  config.working_directory = "/tmp";
  config.hostname = "fn";
  const auto json = launcher::oci_config(config);
  require(json.has_value() == launcher::is_utf8(argument));
  if (!json) return 0;
  const auto parsed = parse_json(*json, 64 << 20);
  require(parsed.has_value());
  const Json* process = parsed->find("process");
  require(process != nullptr);
  const Json* read = process->find("args");
  require(read != nullptr && read->items().size() == 2 && read->items()[1].string() != nullptr &&
          *read->items()[1].string() == argument);
  return 0;
}
