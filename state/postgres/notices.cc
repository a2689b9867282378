#include "state/postgres/notices.h"

namespace millrace::postgres {
namespace {

constexpr std::string_view kEnded = "ended ";
constexpr std::string_view kCancel = "cancel ";

}  // namespace

std::string encode(const Notice& notice) {
  switch (notice.kind) {
    case Notice::Kind::run_ended: return std::string(kEnded) + notice.run_id.str();
    case Notice::Kind::cancel: return std::string(kCancel) + notice.run_id.str();
    case Notice::Kind::functions: return std::string(kFunctionsNotice);
    case Notice::Kind::again: break;
  }
  return "again";
}

std::optional<Notice> decode_notice(std::string_view payload) {
  if (payload == kFunctionsNotice) return Notice{.kind = Notice::Kind::functions, .run_id = {}};
  if (payload == "again") return Notice{};
  for (const auto& [start, kind] : {std::pair(kEnded, Notice::Kind::run_ended), {kCancel, Notice::Kind::cancel}}) {
    if (payload.starts_with(start))
      return Notice{.kind = kind, .run_id = RunId(std::string(payload.substr(start.size())))};
  }
  return std::nullopt;
}

}  // namespace millrace::postgres
