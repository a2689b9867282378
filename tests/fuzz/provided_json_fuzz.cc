// The fields `secrets` and `files` take any JSON: what is accepted is the same after the way to the store and back, and
// no message shows content.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/provided_files.h"
#include "formats/provided_json.h"

namespace {

constexpr std::size_t kJsonBytesMax = 1 << 20;
constexpr std::string_view kContent = "content that nobody may see";

millrace::Result<std::string> read_content(std::string_view path) {
  if (path.size() % 2 == 1) return millrace::fail(millrace::Errc::not_found, "no such file");
  return std::string(kContent);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto json = millrace::parse_json({reinterpret_cast<const char*>(data), size}, kJsonBytesMax);
  if (!json) return 0;
  millrace::Diagnostics problems;
  millrace::ObjectReader in(*json, "", problems);
  const auto secrets = millrace::read_secrets(in, read_content);
  const auto files = millrace::read_files(in, read_content);
  const std::string told = problems.empty() ? std::string() : problems.to_error("it").message;
  // Names are shown, and may be anything.
  const bool is_name = json->dump().find(kContent) != std::string::npos;
  if (!is_name && told.find(kContent) != std::string::npos) std::abort();
  if (!problems.empty()) return 0;

  const auto stored = millrace::parse_json(
      millrace::Json::object({{"secrets", millrace::contents_json(secrets)}, {"files", millrace::contents_json(files)}})
          .dump(),
      std::size_t{16} << 20);
  if (!stored) std::abort();
  millrace::ObjectReader again(*stored, "", problems);
  if (millrace::read_secrets(again, {}) != secrets || millrace::read_files(again, {}) != files) std::abort();
  if (!problems.empty()) std::abort();
  return 0;
}
