#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <memory>
#include <optional>
#include <utility>

#include "cli/exit_codes.h"
#include "cli/files.h"
#include "cli/groups.h"
#include "cli/text.h"
#include "core/event.h"
#include "formats/object_reader.h"

namespace millrace::cli {
namespace {

constexpr int kExitCodeMax = 255;

// For the server to read: it knows what it accepts.
struct Sending {
  std::string delay;
  std::string priority;

  [[nodiscard]] std::string query() const {
    std::string text;
    if (!delay.empty()) text += "&delay=" + encode_part(delay);
    if (!priority.empty()) text += "&priority=" + encode_part(priority);
    return text;
  }
};

struct RunOptions {
  std::string function;
  std::string input;
  std::string id;
  std::string type = "application/octet-stream";
  bool async = false;
  Sending sending;
};

struct PublishOptions {
  std::string topic;
  std::optional<std::string> text;
  std::string file;
  std::string id;
  std::string event_type;
  std::string subject;
  std::string type = "application/octet-stream";
  Sending sending;
};

// From `file`, or from stdin unless that is a terminal: somebody who just types the command has no input.
Result<std::string> read_body(const std::string& file) {
  if (file.empty() && isatty(STDIN_FILENO) == 1) return std::string();
  auto body = read_whole(file.empty() ? "-" : file, kEventBytesMax);
  if (!body && body.error().code == Errc::too_large) {
    return fail(Errc::too_large, body.error().message + "; larger inputs go through a bucket: millrace put");
  }
  return body;
}

// A header is one line: anything else would be a header of its own.
Result<void> check_header(std::string_view option, std::string_view value) {
  const bool fine =
      std::ranges::none_of(value, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  if (fine) return {};
  return fail(Errc::invalid_argument, std::string(option) + " contains a control character");
}

// The function's own code; kFailed where it left none or claims success.
int function_exit_code(const HttpClientResponse& response) {
  const std::string_view text = header_of(response, "x-millrace-exit-code");
  int code = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), code);
  if (error != std::errc{} || end != text.data() + text.size() || code < 0 || code > kExitCodeMax) code = kFailed;
  if (response.status == 200) return code;
  return code == 0 ? kFailed : code;
}

Json result_json(const HttpClientResponse& response, int code) {
  Json json = Json::object({{"run_id", header_of(response, "x-millrace-run-id")},
                            {"outcome", header_of(response, "x-millrace-outcome")},
                            {"exit_code", code}});
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
  const int code = function_exit_code(response);
  if (context.json()) {
    context.print_json(result_json(response, code));
    return code;
  }
  context.print(response.body);
  const auto outcome = header_of(response, "x-millrace-outcome");
  if (outcome != "succeeded") {
    const auto reason = header_of(response, "x-millrace-reason");
    Context::complain(function + " " + (outcome == "dead_lettered" ? "failed" : std::string(outcome)) +
                      (reason.empty() ? "" : ": " + std::string(reason)) + " (run " +
                      std::string(header_of(response, "x-millrace-run-id")) + ")");
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

Result<int> publish(Context& context, const PublishOptions& options) {
  auto body = options.text ? Result<std::string>(*options.text) : read_body(options.file);
  if (!body) return fail(body.error());
  HttpClientRequest request =
      request_for("POST", "/api/v1/topics/" + encode_part(options.topic) + "/events?" + options.sending.query());
  request.headers.add("Content-Type", options.type);
  request.body = std::move(*body);
  const std::pair<const char*, const std::string&> attributes[] = {
      {"ce-id", options.id}, {"ce-type", options.event_type}, {"ce-subject", options.subject}};
  for (const auto& [name, value] : attributes) {
    const auto fine = check_header(name, value);
    if (!fine) return fail(fine.error());
    if (!value.empty()) request.headers.add(name, value);
  }
  const auto response = context.client().send(std::move(request));
  if (!response) return fail(response.error());
  if (response->status != 202) return fail(error_of(*response));
  const auto answer = parse_json(response->body, kEventBytesMax);
  if (!answer) return fail(answer.error().with("the server's answer"));
  if (context.json()) {
    context.print_json(*answer);
  } else {
    const bool known = answer->bool_or("duplicate", false);
    context.print((known ? "was published before: " : "published: ") + printable(options.topic) + "\n");
  }
  return kOk;
}

void add_sending(CLI::App& command, Sending& sending, CLI::Option* needs) {
  auto* const delay = command.add_option("--delay", sending.delay, "Not before so long from now")->type_name("TIME");
  auto* const priority = command.add_option("--priority", sending.priority, "Among what waits: low, normal or high")
                             ->type_name("PRIORITY");
  if (needs == nullptr) return;
  delay->needs(needs);
  priority->needs(needs);
}

}  // namespace

void add_invoke_commands(Commands& commands) {
  const auto context = commands.context;

  const auto called = std::make_shared<RunOptions>();
  auto& run = add_command(commands, "run", "Calls a function and prints its result",
                          [context, called] { return run_function(*context, *called); });
  run.add_option("FUNCTION", called->function, "Which one")->required();
  run.add_option("--input", called->input, "The event's body; without it standard input")->type_name("FILE");
  run.add_option("--id", called->id, "The same id again gives the same run")->type_name("ID");
  run.add_option("--type", called->type, "Content type of the body")->type_name("TYPE");
  auto* const async = run.add_flag("--async", called->async, "Do not wait; print the run's id");
  add_sending(run, called->sending, async);
  run.footer(
      "Exits with the function's exit code, or 128 + N after signal N; 1 where it has none, with a reason on stderr.");

  const auto published = std::make_shared<PublishOptions>();
  auto& pub = add_command(commands, "publish", "Publishes an event on a topic",
                          [context, published] { return publish(*context, *published); });
  pub.add_option("TOPIC", published->topic, "Where to")->required();
  auto* const text = pub.add_option("--text", published->text, "The event's body")->type_name("TEXT");
  pub.add_option("--file", published->file, "A file with the body; without either, standard input")
      ->type_name("FILE")
      ->excludes(text);
  add_sending(pub, published->sending, nullptr);
  pub.add_option("--id", published->id, "The event's id: published again, it counts once")->type_name("ID");
  pub.add_option("--event-type", published->event_type, "CloudEvents type")->type_name("TYPE");
  pub.add_option("--subject", published->subject, "CloudEvents subject")->type_name("TEXT");
  pub.add_option("--type", published->type, "Content type of the body")->type_name("TYPE");
}

}  // namespace millrace::cli
