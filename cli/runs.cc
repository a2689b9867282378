#include "cli/runs.h"

#include <algorithm>
#include <string_view>

#include "cli/text.h"

namespace millrace::cli {
namespace {

constexpr std::size_t kPageMax = 1'000;

void append_parameter(std::string& path, std::string_view name, std::string_view value) {
  if (!value.empty()) path += "&" + std::string(name) + "=" + encode_part(value);
}

}  // namespace

Result<RunsFound> fetch_runs(Client& client, const RunsWanted& wanted) {
  RunsFound found;
  std::string before;
  for (;;) {
    // Also when there are enough: the next page tells whether more follow.
    const std::size_t page = std::clamp<std::size_t>(wanted.limit - found.runs.size(), 1, kPageMax);
    std::string path = "/api/v1/runs?limit=" + std::to_string(page);
    append_parameter(path, "function", wanted.function);
    append_parameter(path, "outcome", wanted.outcome);
    append_parameter(path, "since", wanted.since);
    append_parameter(path, "before", before);
    const auto answer = client.get(path);
    if (!answer) return fail(answer.error());
    found.more_live = found.more_live || answer->bool_or("more_live", false);
    const Json* runs = answer->find("runs");
    if (runs == nullptr) return fail(Errc::internal, "the server's answer lists no runs");

    // Runs that go on come on the first page in addition to those that are over, and have no outcome.
    std::size_t over = 0;
    for (const auto& run : runs->items()) {
      if (run.find("outcome") != nullptr) {
        ++over;
        before = run.string_or("run_id", "");
      }
      if (found.runs.size() < wanted.limit) {
        found.runs.push_back(run);
      } else {
        found.truncated = true;
      }
    }
    // A page may be short although more follow: the server bounds what an answer carries.
    if (over == 0 || found.truncated) return found;
  }
}

}  // namespace millrace::cli
