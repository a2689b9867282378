// FDL files, and with them the YAML door, take any bytes; functions that are accepted can be stored and read back.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "formats/fdl.h"
#include "formats/spec_check.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  millrace::Diagnostics problems;
  const auto read_script = [](std::string_view path) -> millrace::Result<std::string> {
    if (path.size() % 2 == 1) return millrace::fail(millrace::Errc::not_found, "no such file");
    return std::string(path);
  };
  auto functions = millrace::read_fdl({reinterpret_cast<const char*>(data), size}, read_script, problems);
  if (!problems.empty()) {
    if (problems.to_error("it").message.empty()) std::abort();
    return 0;
  }
  (void)millrace::check_no_loops(functions);
  for (auto& function : functions) {
    function.uid = millrace::FunctionUid("01ARZ3NDEKTSV4RRFFQ69G5FAV");
    const auto stored = millrace::parse_json(millrace::to_full_json(function).dump(), std::size_t{16} << 20);
    if (!stored) std::abort();
    const auto again = millrace::function_from_json(*stored);
    if (!again || *again != function) std::abort();
  }
  return 0;
}
