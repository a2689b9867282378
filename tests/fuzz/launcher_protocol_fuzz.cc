// The datagrams between daemon and launcher, in both directions, and the program inside a Spawn. What decodes must
// encode to the same bytes: no two datagrams mean the same, and nothing read is lost.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "runtime/launcher/protocol.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace millrace::launcher;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto request = decode_request(bytes)) {
    require(descriptors_of(*request) <= kDescriptorsMax);
    const auto again = encode(*request);
    require(again.has_value() && *again == bytes);
  }
  if (const auto answer = decode_answer(bytes)) {
    const auto again = encode(*answer);
    require(again.has_value() && *again == bytes);
  }
  if (const auto program = unpack_program(bytes)) {
    require(program->argv.size() >= 2 && program->argv.back() == nullptr && program->environment.back() == nullptr);
    for (const auto* pointers : {&program->argv, &program->environment}) {
      for (const char* text : *pointers) {
        if (text != nullptr) require(std::string_view(text).data() + std::string_view(text).size() < bytes.end());
      }
    }
  }
  return 0;
}
