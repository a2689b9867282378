// `millrace publish`: one event, or one for each line of a file.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "cli/exit_codes.h"
#include "cli/files.h"
#include "cli/groups.h"
#include "cli/lines.h"
#include "cli/progress.h"
#include "cli/sending.h"
#include "cli/text.h"
#include "core/event.h"
#include "core/ids.h"
#include "formats/cloudevents.h"
#include "formats/event_codec.h"
#include "formats/media_type.h"
#include "formats/utf8.h"

namespace millrace::cli {
namespace {

// Of lines that are sent at once; a batch that fails is named by its lines.
constexpr std::size_t kBatchEvents = 200;
constexpr std::size_t kBatchBytes = 1 << 20;
constexpr std::size_t kFailuresShown = 5;

struct PublishOptions {
  std::string topic;
  std::optional<std::string> text;
  std::string file;
  std::string lines;
  std::string id;
  std::string type;
  std::string source;
  std::string subject;
  std::string content_type;
  std::string key;
  std::string mode;
  std::vector<std::string> headers;
  Sending sending;

  [[nodiscard]] std::string path() const {
    std::string query = sending.query();
    if (!key.empty()) query += "&key=" + encode_part(key);
    if (!mode.empty()) query += "&mode=" + encode_part(mode);
    if (!query.empty()) query.front() = '?';
    return "/api/v1/topics/" + encode_part(topic) + "/events" + query;
  }
};

using Attributes = std::vector<std::pair<std::string, std::string>>;

// "name=value" of --header, each an attribute of the publisher's own.
Result<Attributes> extensions_of(const PublishOptions& options) {
  Attributes extensions;
  for (const auto& header : options.headers) {
    const auto equals = header.find('=');
    std::string name = header.substr(0, equals);
    if (name.starts_with("ce-")) name.erase(0, 3);
    if (equals == std::string::npos || !is_extension_name(name)) {
      return fail(Errc::invalid_argument, "--header '" + printable(header.substr(0, 64)) +
                                              "': expected NAME=VALUE, a name of 1 to 40 of a-z and 0-9 that is no "
                                              "attribute of CloudEvents");
    }
    extensions.emplace_back(std::move(name), header.substr(equals + 1));
  }
  return extensions;
}

// Header values are ASCII; everything else is percent-encoded, as the HTTP binding of CloudEvents says.
std::string header_value(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f && c != '%' && c != '"') {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

Result<int> publish_one(Context& context, const PublishOptions& options) {
  auto body = options.text ? Result<std::string>(*options.text) : read_body(options.file);
  if (!body) return fail(body.error());
  auto extensions = extensions_of(options);
  if (!extensions) return fail(extensions.error());
  HttpClientRequest request = request_for("POST", options.path());
  Attributes attributes{
      {"id", options.id}, {"type", options.type}, {"source", options.source}, {"subject", options.subject}};
  attributes.insert(attributes.end(), extensions->begin(), extensions->end());
  for (const auto& [name, value] : attributes) {
    const auto fine = check_header(name, value);
    if (!fine) return fail(fine.error());
    if (!value.empty()) request.headers.add("ce-" + name, header_value(value));
  }
  if (const auto fine = check_header("--content-type", options.content_type); !fine) return fail(fine.error());
  request.headers.add("Content-Type",
                      options.content_type.empty() ? std::string(guess_media_type({}, *body)) : options.content_type);
  request.body = std::move(*body);
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

// One line as an event: a CloudEvent that says so itself, or data.
Result<Json> event_of_line(const PublishOptions& options, const Attributes& extensions, const std::string& id,
                           std::string_view line) {
  const std::string type = options.content_type.empty() ? "application/json" : options.content_type;
  Json data;
  if (is_json_type(type)) {
    auto parsed = parse_json(line, kStructuredBytesMax);
    if (!parsed) return fail(parsed.error());
    if (parsed->find("specversion") != nullptr) {
      const auto event = event_from_json(*parsed);
      if (!event) return fail(event.error());
      return std::move(*parsed);
    }
    data = std::move(*parsed);
  } else {
    if (!is_utf8(line)) return fail(Errc::invalid_argument, "is no UTF-8; publish it as a file of its own");
    data = Json(line);
  }
  Json event = Json::object({{"specversion", "1.0"},
                             {"id", id},
                             {"source", options.source.empty() ? "/cli" : options.source},
                             {"type", options.type.empty() ? std::string(kPublished) : options.type},
                             {"datacontenttype", type}});
  if (!options.subject.empty()) event.set("subject", options.subject);
  for (const auto& [name, value] : extensions) event.set(name, value);
  event.set("data", std::move(data));
  const auto checked = event_from_json(event);
  if (!checked) return fail(checked.error());
  return event;
}

struct Tally {
  std::uint64_t published = 0;
  std::uint64_t duplicates = 0;
  std::uint64_t failed = 0;
  std::vector<std::pair<std::uint64_t, std::string>> failures;  // line and reason, the first of them
  Errc worst = Errc::internal;

  void fail_line(std::uint64_t line, Errc code, std::string why) {
    if (failed++ == 0) worst = code;
    if (failures.size() < kFailuresShown) failures.emplace_back(line, std::move(why));
  }
};

struct Batch {
  std::string body;
  std::vector<std::uint64_t> lines;

  void add(const Json& event, std::uint64_t line) {
    body += body.empty() ? "[" : ",";
    body += event.dump();
    lines.push_back(line);
  }
};

// An error: nobody can know whether more of this helps. What single events are refused for is counted.
Result<void> send(Context& context, const PublishOptions& options, Batch batch, Tally& tally) {
  HttpClientRequest request = request_for("POST", options.path());
  request.headers.add("Content-Type", std::string(kBatchType));
  request.body = std::move(batch.body) + "]";
  const auto response = context.client().send(std::move(request));
  if (!response) return fail(response.error());
  const auto answer = parse_json(response->body, kStructuredBytesMax);
  const Json* failed = answer ? answer->find("failed") : nullptr;
  if (response->status != 202 && failed == nullptr) return fail(error_of(*response));
  if (!answer) return fail(answer.error().with("the server's answer"));
  tally.published += answer->uint_or("accepted", 0);
  tally.duplicates += answer->uint_or("duplicates", 0);
  if (failed == nullptr) return {};
  for (const auto& each : failed->items()) {
    const auto index = each.uint_or("index", 0);
    const auto line = index < batch.lines.size() ? batch.lines[index] : 0;
    tally.fail_line(line, errc_from_name(each.string_or("code", "")), each.string_or("message", ""));
  }
  return {};
}

Result<int> show_tally(Context& context, const PublishOptions& options, const Tally& tally, const Error* stopped) {
  if (context.json()) {
    Json failures = Json::array();
    for (const auto& [line, why] : tally.failures) failures.append(Json::object({{"line", line}, {"message", why}}));
    context.print_json(Json::object({{"topic", options.topic},
                                     {"published", tally.published},
                                     {"duplicates", tally.duplicates},
                                     {"failed", tally.failed},
                                     {"failures", std::move(failures)}}));
  } else {
    std::string text = "published: " + counted(tally.published, "event") + " on " + printable(options.topic);
    if (tally.duplicates > 0) text += ", " + std::to_string(tally.duplicates) + " of them published before";
    context.print(text + "\n");
  }
  for (const auto& [line, why] : tally.failures) {
    Context::complain("line " + std::to_string(line) + ": " + printable(why));
  }
  if (tally.failed > tally.failures.size()) {
    Context::complain("and " + counted(tally.failed - tally.failures.size(), "line") + " more");
  }
  if (stopped != nullptr) return fail(*stopped);
  if (tally.failed > 0) return fail(tally.worst, counted(tally.failed, "line") + " not published");
  return kOk;
}

Result<int> publish_lines(Context& context, const PublishOptions& options) {
  auto extensions = extensions_of(options);
  if (!extensions) return fail(extensions.error());
  auto reader = LineReader::open(options.lines);
  if (!reader) return fail(reader.error());
  // Made up once: a batch that is sent again, since the connection broke, counts once.
  const std::string id = options.id.empty() ? random_hex(8) : options.id;
  Progress progress("publish");
  Tally tally;
  Batch batch;
  std::optional<Error> stopped;
  const auto flush = [&] {
    if (batch.lines.empty() || stopped) return;
    const std::string from =
        "lines " + std::to_string(batch.lines.front()) + " to " + std::to_string(batch.lines.back());
    const auto sent = send(context, options, std::exchange(batch, {}), tally);
    if (!sent) stopped = sent.error().with(from);
    progress.update(reader->read_bytes(), reader->size_bytes());
  };
  while (!stopped) {
    auto line = reader->next();
    if (!line) stopped = line.error().with("line " + std::to_string(reader->number()));
    if (!line || !*line) break;
    const auto event = event_of_line(options, *extensions, id + "-" + std::to_string(reader->number()), **line);
    if (!event) {
      stopped = event.error().with("line " + std::to_string(reader->number()));
      break;
    }
    batch.add(*event, reader->number());
    if (batch.lines.size() >= kBatchEvents || batch.body.size() >= kBatchBytes) flush();
  }
  // What stands before a line that is wrong is published; then the line is named.
  const auto wrong = std::exchange(stopped, {});
  flush();
  if (!stopped) stopped = wrong;
  return show_tally(context, options, tally, stopped ? &*stopped : nullptr);
}

}  // namespace

void add_publish_command(Commands& commands) {
  const auto context = commands.context;
  const auto options = std::make_shared<PublishOptions>();
  auto& command = add_command(commands, "publish", "Publishes events on a topic", [context, options] {
    return options->lines.empty() ? publish_one(*context, *options) : publish_lines(*context, *options);
  });
  command.add_option("TOPIC", options->topic, "Where to; made if it is not there")->required();
  auto* const text = command.add_option("DATA,--text", options->text, "The event's data")->type_name("TEXT");
  auto* const file =
      command.add_option("--file", options->file, "A file with the data; without either, standard input")
          ->type_name("FILE")
          ->excludes(text);
  command
      .add_option("--lines", options->lines,
                  "One event for each line of a file ('-': standard input): JSON data, or a CloudEvent")
      ->type_name("FILE")
      ->excludes(text)
      ->excludes(file);
  command.add_option("--id", options->id, "The event's id: published again, it counts once; of lines ID-<number>")
      ->check(check_id, "", "")
      ->type_name("ID");
  command.add_option("--type,--event-type", options->type, "CloudEvents type")->type_name("TYPE");
  command.add_option("--source", options->source, "CloudEvents source")->type_name("URI");
  command.add_option("--subject", options->subject, "CloudEvents subject")->type_name("TEXT");
  command.add_option("--content-type", options->content_type, "Of the data; guessed without it")->type_name("TYPE");
  command.add_option("--header", options->headers, "An attribute of your own; as often as wanted")
      ->type_name("NAME=VALUE")
      ->take_all();
  command.add_option("--key", options->key, "Events of one key are worked on one at a time, in order")
      ->type_name("KEY");
  command
      .add_option("--mode", options->mode,
                  "How readers of other programs find it: binary (attributes in headers; the default) or structured "
                  "(one JSON document)")
      ->check(CLI::IsMember({"binary", "structured"}))
      ->type_name("MODE");
  add_sending(command, options->sending, nullptr);
}

}  // namespace millrace::cli
