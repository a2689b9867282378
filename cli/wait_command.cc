#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <thread>

#include "cli/exit_codes.h"
#include "cli/groups.h"
#include "cli/text.h"
#include "core/units.h"

namespace millrace::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kAnswerBytesMax = 1 << 20;
constexpr milliseconds kPollFirst{20};
constexpr milliseconds kPollMax{500};

struct WaitOptions {
  std::string id;
  std::string timeout = "60s";
  bool idle = false;
};

Result<int> wait_idle(Context& context, const std::string& timeout) {
  const auto response = context.client().send(request_for("POST", "/api/v1/wait-idle?timeout=" + encode_part(timeout)));
  if (!response) return fail(response.error());
  const auto answer = parse_json(response->body, kAnswerBytesMax);
  if (!answer || answer->find("idle") == nullptr) return fail(error_of(*response));
  const bool idle = answer->bool_or("idle", false);
  if (context.json()) {
    context.print_json(*answer);
  } else if (!idle) {
    Context::complain("not idle after " + timeout + ": " + std::to_string(answer->uint_or("queued", 0)) + " queued, " +
                      std::to_string(answer->uint_or("delayed", 0)) + " waiting for a retry, " +
                      std::to_string(answer->uint_or("running", 0)) + " running" +
                      (answer->bool_or("inputs_known", true) ? "" : ", and files in the inputs are still looked at"));
  }
  return idle ? kOk : kTimedOut;
}

// "done": its outputs are placed and the events about them published.
Result<int> wait_for_run(Context& context, const WaitOptions& options) {
  const auto timeout = parse_duration(options.timeout);
  if (!timeout) return fail(timeout.error().with("--timeout"));
  const auto deadline = steady_clock::now() + *timeout;
  for (milliseconds pause = kPollFirst;; pause = std::min(pause * 2, kPollMax)) {
    const auto run = context.client().get("/api/v1/runs/" + encode_part(options.id));
    if (!run) return fail(run.error());
    if (run->string_or("state", "") == "done") {
      const std::string outcome = run->string_or("outcome", "");
      if (context.json()) {
        context.print_json(*run);
      } else if (outcome != "succeeded") {
        const std::string reason = text_of(*run, "reason");
        Context::complain("run " + options.id + ": " + outcome + (reason.empty() ? "" : ": " + reason));
      }
      return outcome == "succeeded" ? kOk : kFailed;
    }
    if (steady_clock::now() + pause > deadline) {
      const std::string unplaced = unplaced_text(*run);
      return fail(Errc::deadline_exceeded, "run " + options.id + " is not over after " + options.timeout +
                                               ", its state is " + run->string_or("state", "unknown") +
                                               (unplaced.empty() ? "" : ": " + unplaced));
    }
    std::this_thread::sleep_for(pause);
  }
}

Result<int> wait(Context& context, const WaitOptions& options) {
  if (options.idle != options.id.empty()) return fail(Errc::invalid_argument, "say either --idle or a run to wait for");
  return options.idle ? wait_idle(context, options.timeout) : wait_for_run(context, options);
}

}  // namespace

void add_wait_command(Commands& commands) {
  auto [command, options] =
      add_command(commands, "wait", "Waits until nothing is left to do, or one run is over", wait);
  command.add_option("RUN", options->id, "Wait for this run; 0 if it succeeded");
  command.add_flag("--idle", options->idle, "Wait until nothing is queued, delayed or running");
  command.add_option("--timeout", options->timeout, "At most so long, 60s without it; then exit code 6")
      ->type_name("TIME");
}

}  // namespace millrace::cli
