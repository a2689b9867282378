#include "formats/record_json.h"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "formats/diagnostics.h"
#include "formats/object_reader.h"
#include "formats/timestamp.h"

namespace millrace {
namespace {

// Sets what is there: an empty text, id or time says nothing.
void set_text(Json& json, std::string_view key, std::string_view text) {
  if (!text.empty()) json.set(key, raw_json(text));
}

void set_time(Json& json, std::string_view key, WallTime time) {
  if (time != WallTime{}) json.set(key, format_timestamp_exact(time));
}

WallTime read_time(ObjectReader& in, std::string_view key) {
  const std::string text = in.text(key, "");
  if (text.empty()) return {};
  const auto time = parse_timestamp(text);
  if (!time) in.problem(key, time.error().message);
  return time.value_or(WallTime{});
}

Json version_json(const ObjectVersion& version) {
  return Json::object({{"size_bytes", version.size_bytes}, {"mtime_ns", version.mtime_ns}, {"inode", version.inode}});
}

ObjectVersion read_version(ObjectReader& in, std::string_view key) {
  const Json* json = in.find(key);
  if (json == nullptr) return {};
  ObjectReader version(*json, in.path_of(key), in.problems());
  return {.size_bytes = version.integer("size_bytes", std::uint64_t{0}),
          .mtime_ns = version.integer("mtime_ns", std::int64_t{0}),
          .inode = version.integer("inode", std::uint64_t{0})};
}

ObjectRef read_object(const Json& json, std::string path, Diagnostics& problems) {
  ObjectReader in(json, std::move(path), problems);
  ObjectRef object;
  object.store = in.text("store", "");
  object.bucket = in.text("bucket", "");
  object.key = in.raw("key");
  object.version = read_version(in, "version");
  object.private_path = in.raw("private_path");
  return object;
}

// Calls `field(name, member)` for each number of a Usage; `Usage` may be const.
template <class AnyUsage, class Field>
void for_each_number(AnyUsage& usage, Field field) {
  field("wall_us", usage.wall_us);
  field("queued_us", usage.queued_us);
  field("start_us", usage.start_us);
  field("cpu_us", usage.cpu_us);
  field("memory_peak_bytes", usage.memory_peak_bytes);
  field("rss_peak_bytes", usage.rss_peak_bytes);
  field("read_bytes", usage.read_bytes);
  field("written_bytes", usage.written_bytes);
  field("throttled_us", usage.throttled_us);
  field("output_bytes", usage.output_bytes);
  field("memory_limit_bytes", usage.memory_limit_bytes);
}

Usage read_usage(ObjectReader& in) {
  Usage usage;
  if (const Json* json = in.find("usage")) {
    ObjectReader reader(*json, in.path_of("usage"), in.problems());
    for_each_number(usage, [&reader](std::string_view name, std::uint64_t& value) {
      value = reader.integer(name, std::uint64_t{0});
    });
  }
  return usage;
}

OutputFile read_output(const Json& json, std::string path, Diagnostics& problems) {
  ObjectReader in(json, std::move(path), problems);
  OutputFile file;
  file.name = in.raw("name");
  file.store = in.text("store", "");
  file.bucket = in.text("bucket", "");
  file.key = in.raw("key");
  file.source_path = in.raw("source_path");
  file.placed = read_version(in, "placed");
  file.private_path = in.raw("private_path");
  file.version = read_version(in, "version");
  file.sha256 = in.text("sha256", "");
  return file;
}

std::optional<AttemptOutcome> read_attempt_outcome(ObjectReader& in) {
  if (in.find("outcome") == nullptr) return std::nullopt;
  return in.choice("outcome", AttemptOutcome::lost, attempt_outcome_from_name, "the outcomes of an attempt");
}

}  // namespace

Json to_json(const ObjectRef& object) {
  Json json = Json::object({{"store", object.store}, {"bucket", object.bucket}, {"key", raw_json(object.key)}});
  json.set("version", version_json(object.version));
  set_text(json, "private_path", object.private_path);
  return json;
}

Json to_json(const Usage& usage) {
  Json json = Json::object();
  for_each_number(usage, [&json](std::string_view name, std::uint64_t value) { json.set(name, value); });
  // For readers; what is read back is what it was made of.
  if (usage.memory_limit_bytes != 0) json.set("gb_seconds", usage.gb_seconds());
  return json;
}

Json to_json(const OutputFile& file) {
  Json json = Json::object({{"name", raw_json(file.name)}, {"store", file.store}, {"bucket", file.bucket}});
  json.set("key", raw_json(file.key));
  set_text(json, "source_path", file.source_path);
  json.set("placed", version_json(file.placed));
  set_text(json, "private_path", file.private_path);
  json.set("version", version_json(file.version));
  set_text(json, "sha256", file.sha256);
  return json;
}

Json to_json(const Attempt& attempt) {
  Json json = Json::object({{"run_id", attempt.run_id.str()}, {"token", attempt.token.str()}});
  set_text(json, "bucket", attempt.bucket);
  set_text(json, "node", attempt.node);
  set_time(json, "started_at", attempt.started_at);
  set_time(json, "ended_at", attempt.ended_at);
  if (attempt.outcome) json.set("outcome", name_of(*attempt.outcome));
  json.set("exit_code", attempt.exit_code);
  json.set("signal", attempt.signal);
  set_text(json, "message", attempt.message);
  json.set("usage", to_json(attempt.usage));
  return json;
}

namespace {

// Everything but the outputs.
Json facts_json(const RunRecord& run) {
  Json json = Json::object({
      {"run_id", run.run_id.str()},
      {"event_id", run.event_id.str()},
      {"function", run.function},
      {"function_uid", run.function_uid.str()},
      {"revision", run.revision},
      {"generation", run.generation},
  });
  set_text(json, "order", run.order.str());
  set_text(json, "cause", run.cause.str());
  json.set("hops", run.hops);
  if (run.input) json.set("input", to_json(*run.input));
  json.set("outcome", name_of(run.outcome));
  set_text(json, "reason", run.reason);
  json.set("exit_code", run.exit_code);
  json.set("signal", run.signal);
  json.set("failures", run.failures);
  json.set("losses", run.losses);
  set_text(json, "token", run.token.str());
  set_text(json, "node", run.node);
  set_time(json, "queued_at", run.queued_at);
  set_time(json, "started_at", run.started_at);
  set_time(json, "committed_at", run.committed_at);
  json.set("usage", to_json(run.usage));
  set_text(json, "log_tail", run.log_tail);
  json.set("log_bytes", run.log_bytes);
  set_text(json, "result", run.result);
  if (run.result_truncated) json.set("result_truncated", true);
  json.set("placed", run.placed);
  json.set("published", run.published);
  return json;
}

}  // namespace

Json to_json(const RunRecord& run) {
  Json json = facts_json(run);
  Json outputs = Json::array();
  for (const auto& file : run.outputs) outputs.append(to_json(file));
  json.set("outputs", std::move(outputs));
  return json;
}

Json summary_json(const RunRecord& run) {
  Json json = facts_json(run);
  json.set("outputs_count", run.outputs.size());
  return json;
}

Json to_json(const Event& event) {
  Json json = Json::object({{"id", event.id.str()}, {"source", raw_json(event.source)}});
  json.set("source_id", raw_json(event.source_id));
  json.set("type", raw_json(event.type));
  set_text(json, "subject", event.subject);
  set_time(json, "time", event.time);
  set_text(json, "content_type", event.content_type);
  set_text(json, "order", event.order.str());
  json.set("hops", event.hops);
  json.set("generation", event.generation);
  set_text(json, "cause", event.cause.str());
  if (event.object) json.set("object", to_json(*event.object));
  if (!event.extensions.empty()) {
    Json extensions = Json::object();
    for (const auto& [name, value] : event.extensions) extensions.set(name, raw_json(value));
    json.set("extensions", std::move(extensions));
  }
  json.set("data_bytes", event.data.size());
  return json;
}

Result<Attempt> attempt_from_json(const Json& json) {
  Diagnostics problems;
  ObjectReader in(json, "", problems);
  Attempt attempt;
  attempt.run_id = RunId(in.text("run_id"));
  attempt.token = AttemptToken(in.text("token"));
  attempt.bucket = in.text("bucket", "");
  attempt.node = in.raw("node");
  attempt.started_at = read_time(in, "started_at");
  attempt.ended_at = read_time(in, "ended_at");
  attempt.outcome = read_attempt_outcome(in);
  attempt.exit_code = in.integer("exit_code", 0);
  attempt.signal = in.integer("signal", 0);
  attempt.message = in.raw("message");
  attempt.usage = read_usage(in);
  if (!problems.empty()) return fail(problems.to_error("attempt"));
  return attempt;
}

Result<RunRecord> run_from_json(const Json& json) {
  Diagnostics problems;
  ObjectReader in(json, "", problems);
  RunRecord run;
  run.run_id = RunId(in.text("run_id"));
  run.event_id = EventId(in.text("event_id"));
  run.function = in.text("function");
  run.function_uid = FunctionUid(in.text("function_uid"));
  run.revision = in.integer("revision", std::uint64_t{0});
  run.generation = in.integer("generation", 0U);
  run.order = Order(in.text("order", ""));
  run.cause = RunId(in.text("cause", ""));
  run.hops = in.integer("hops", 0U);
  if (const Json* input = in.find("input")) run.input = read_object(*input, "input", problems);
  run.outcome = in.choice("outcome", RunOutcome::succeeded, run_outcome_from_name, "the outcomes of a run");
  if (in.find("outcome") == nullptr) in.problem("outcome", "is missing");
  run.reason = in.raw("reason");
  run.exit_code = in.integer("exit_code", 0);
  run.signal = in.integer("signal", 0);
  run.failures = in.integer("failures", 0U);
  run.losses = in.integer("losses", 0U);
  run.token = AttemptToken(in.text("token", ""));
  run.node = in.raw("node");
  run.queued_at = read_time(in, "queued_at");
  run.started_at = read_time(in, "started_at");
  run.committed_at = read_time(in, "committed_at");
  run.usage = read_usage(in);
  run.log_tail = in.raw("log_tail");
  run.log_bytes = in.integer("log_bytes", std::uint64_t{0});
  run.result = in.raw("result");
  run.result_truncated = in.boolean("result_truncated", false);
  const auto& outputs = in.array("outputs");
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    run.outputs.push_back(read_output(outputs[i], in.path_of("outputs", i), problems));
  }
  run.placed = in.boolean("placed", false);
  run.published = in.boolean("published", false);
  if (!problems.empty()) return fail(problems.to_error("run record"));
  return run;
}

}  // namespace millrace
