#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "cli/exit_codes.h"
#include "cli/files.h"
#include "cli/groups.h"
#include "cli/sending.h"
#include "cli/text.h"
#include "core/event.h"
#include "formats/object_reader.h"

namespace millrace::cli {
namespace {

constexpr int kExitCodeMax = 255;

struct RunOptions {
  std::string function;
  std::string input;
  std::string id;
  std::string type = "application/octet-stream";
  bool async = false;
  Sending sending;
};

// The function's own code; kFailed where it left none or claims success.
int function_exit_code(const HttpClientResponse& response) {
  const std::string_view text = header_of(response, "x-millrace-exit-code");
  int code = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), code);
  if (error != std::errc{} || end != text.data() + text.size() || code < 0 || code > kExitCodeMax) code = kFailed;
  if (response.status == 200) return code;
  return code == 0 ? kFailed : code;
}

bool is_cut(const HttpClientResponse& response) {
  return header_of(response, "x-millrace-result-truncated") == "true";
}

Json result_json(const HttpClientResponse& response, int code) {
  Json json = Json::object({{"run_id", header_of(response, "x-millrace-run-id")},
                            {"outcome", header_of(response, "x-millrace-outcome")},
                            {"exit_code", code},
                            {"result_truncated", is_cut(response)}});
  if (const auto reason = header_of(response, "x-millrace-reason"); !reason.empty()) json.set("reason", reason);
  json.set("result", raw_json(response.body));
  return json;
}

Result<int> show_accepted(Context& context, const HttpClientResponse& response) {
  const auto answer = parse_json(response.body, kEventBytesMax);
  if (!answer) return fail(answer.error().with("the server's answer"));
  if (context.json()) {
    context.print_json(*answer);
  } else {
    context.print(printable(answer->string_or("run_id", "")) + "\n");
  }
  return kOk;
}

Result<int> show_result(Context& context, const std::string& function, const HttpClientResponse& response) {
  int code = function_exit_code(response);
  // Half an answer is none for whoever reads it, whatever the function says.
  if (is_cut(response)) code = std::max(code, kFailed);
  if (context.json()) {
    context.print_json(result_json(response, code));
    return code;
  }
  context.print(response.body);
  const std::string run = " (run " + std::string(header_of(response, "x-millrace-run-id")) + ")";
  if (is_cut(response)) {
    Context::complain(function + " printed more than limits.result: its answer is cut after " +
                      std::to_string(response.body.size()) + " bytes" + run);
  }
  const auto outcome = header_of(response, "x-millrace-outcome");
  if (outcome != "succeeded") {
    const auto reason = header_of(response, "x-millrace-reason");
    Context::complain(function + " " + (outcome == "dead_lettered" ? "failed" : std::string(outcome)) +
                      (reason.empty() ? "" : ": " + std::string(reason)) + run);
  }
  return code;
}

Result<int> run_function(Context& context, const RunOptions& options) {
  for (const auto& [option, value] : {std::pair("--id", options.id), std::pair("--type", options.type)}) {
    const auto fine = check_header(option, value);
    if (!fine) return fail(fine.error());
  }
  auto body = read_body(options.input);
  if (!body) return fail(body.error());
  HttpClientRequest request =
      request_for("POST", "/api/v1/functions/" + encode_part(options.function) +
                              "/invoke?async=" + (options.async ? "yes" : "no") + options.sending.query());
  request.headers.add("Content-Type", options.type);
  request.body = std::move(*body);
  if (!options.id.empty()) request.headers.add("Idempotency-Key", options.id);
  const auto response = context.client().send(std::move(request));
  if (!response) return fail(response.error());
  if (options.async && response->status == 202) return show_accepted(context, *response);
  if (!header_of(*response, "x-millrace-outcome").empty()) return show_result(context, options.function, *response);
  return fail(error_of(*response));
}

}  // namespace

void add_invoke_commands(Commands& commands) {
  auto [run, called] = add_command(commands, "run", "Calls a function and prints its result", run_function);
  run.add_option("FUNCTION", called->function, "Which one")->required();
  run.add_option("--input", called->input, "The event's body; without it standard input")->type_name("FILE");
  run.add_option("--id", called->id, "The same id again gives the same run")->check(check_id, "", "")->type_name("ID");
  run.add_option("--type", called->type, "Content type of the body")->type_name("TYPE");
  auto* const async = run.add_flag("--async", called->async, "Do not wait; print the run's id");
  add_sending(run, called->sending, async);
  run.footer(
      "Exits with the function's exit code, or 128 + N after signal N; 1 where it has none, or where its answer is\n"
      "longer than limits.result and was cut, with a reason on stderr.");
}

}  // namespace millrace::cli
