// Answers that go on: runs as they change, a run's log as it is written, events as they are published. Server-sent
// events, so that a browser reads them too: `event: <what>`, `data: <JSON in one line>`, an empty line; a comment every
// kPatience of silence.
//
// A client that does not keep up holds nothing back but itself: what it missed is counted in a `skipped` event.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "async/sleep.h"
#include "formats/object_reader.h"
#include "formats/timestamp.h"
#include "gateway/reply.h"
#include "gateway/routes.h"
#include "gateway/run_json.h"

namespace millrace::routes {
namespace {

constexpr std::chrono::seconds kPatience{15};
constexpr std::chrono::milliseconds kLogPoll{100};  // for the next attempt of a run that waits

std::string server_event(std::string_view what, const Json& data) {
  return "event: " + std::string(what) + "\ndata: " + data.dump() + "\n\n";
}

Task<Result<void>> start_events(Exchange& exchange) {
  HttpHeaders headers{{"Content-Type", "text/event-stream"}, {"Cache-Control", "no-store"}};
  const auto started = co_await exchange.responder.start(200, std::move(headers));
  if (!started) co_return fail(started.error());
  // From here on nothing is missed, which a client can wait for.
  auto written = co_await exchange.responder.write(": here you are\n\n");
  co_return written;
}

std::string text_of(const RunFeed::Batch& batch) {
  std::string text;
  if (batch.skipped > 0) text += server_event("skipped", Json::object({{"count", batch.skipped}}));
  for (const auto& news : batch.news) text += server_event("run", news_json(*news));
  return text.empty() ? ": still here\n\n" : text;
}

Json to_json(const TopicNews& news) {
  Json json = Json::object({{"id", news.id},
                            {"source", news.source},
                            {"type", news.type},
                            {"subject", news.subject},
                            {"key", news.key},
                            {"content_type", news.content_type},
                            {"published_at", format_timestamp(news.published_at)},
                            {"bytes", news.data_bytes},
                            {"data", raw_json(news.data)}});
  if (news.data.size() < news.data_bytes) json.set("cut", true);
  return json;
}

std::string text_of(const TopicFeed::Batch& batch) {
  std::string text;
  if (batch.skipped > 0) text += server_event("skipped", Json::object({{"count", batch.skipped}}));
  if (batch.interrupted) text += server_event("skipped", Json::object({{"count", Json()}}));
  for (const auto& news : batch.news) text += server_event("event", to_json(news));
  if (batch.topic_removed) text += server_event("removed", Json::object({}));
  return text.empty() ? ": still here\n\n" : text;
}

// Where a follower of a log is.
struct Place {
  std::shared_ptr<LiveLog> log;  // of the attempt that is followed; null between attempts
  std::uint64_t offset = 0;
  AttemptToken shown;   // the latest attempt that was
  bool looked = false;  // once at least
};

struct Step {
  std::optional<LiveLogs::Piece> piece;
  std::shared_ptr<LiveLog> log;
  std::optional<RunRecord> record;
  bool known = true;
};

// On the domain loop: what there is to be told next, or nothing after a while.
Task<Result<Step>> next_step(Services& services, RunId run_id, Place place, std::stop_token stop) {
  Step step;
  step.log = place.log ? place.log : services.logs.find(run_id);
  if (step.log) {
    auto piece = co_await services.logs.next(step.log, place.offset, kPatience, stop);
    if (!piece) co_return fail(piece.error());
    step.piece = std::move(*piece);
    co_return step;
  }
  auto record = co_await services.state.runs().get(run_id);
  if (!record) co_return fail(record.error());
  step.record = std::move(*record);
  if (step.record) co_return step;
  step.known = services.runs.find(run_id).has_value();
  if (step.known && place.looked) {
    const auto slept = co_await sleep_for(services.domain, kLogPoll, stop);
    if (!slept) co_return fail(slept.error());
  }
  co_return step;
}

// Only text can be sent as text: other bytes as elsewhere in the API.
Json log_json(const std::string& bytes) {
  return Json::object({{"text", raw_json(bytes)}});
}

std::string text_of(const Step& step, Place& place) {
  std::string text;
  if (step.piece) {
    if (step.piece->skipped > 0) text += server_event("skipped", Json::object({{"bytes", step.piece->skipped}}));
    if (!step.piece->bytes.empty()) text += server_event("log", log_json(step.piece->bytes));
    place.shown = step.log->token();
    place.log = step.piece->over ? nullptr : step.log;
    place.offset = step.piece->over ? 0 : step.piece->next;
  }
  if (step.record) {
    const bool missed = place.shown != step.record->token && !step.record->log_tail.empty();
    if (missed) text += server_event("log", log_json(step.record->log_tail));
    text += server_event("end",
                         Json::object({{"outcome", name_of(step.record->outcome)}, {"reason", step.record->reason}}));
  }
  return text.empty() ? ": still here\n\n" : text;
}

// On the domain loop. Of all functions where none is named.
Task<Result<std::shared_ptr<RunFeed::Reader>>> open_feed(Services& services, std::string function) {
  if (!function.empty()) {
    const auto known = co_await check_function_known(services, function);
    if (!known) co_return fail(known.error());
  }
  co_return services.feed.open(function);
}

}  // namespace

Task<void> watch_runs(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string function(exchange.request.query("function").value_or(""));
  const auto reader =
      co_await on_domain(services, exchange.request, [&services, function] { return open_feed(services, function); });
  if (!reader) {
    co_await reply_error(exchange, reader.error());
    co_return;
  }
  auto sent = co_await start_events(exchange);
  while (sent && exchange.request.method() != "HEAD") {
    const auto batch = co_await on_domain_while_wanted(
        services, exchange.request,
        [&services, reader = *reader](std::stop_token left) { return services.feed.next(reader, kPatience, left); });
    if (!batch) break;  // the client has left, or the server stops
    sent = co_await exchange.responder.write(text_of(*batch));
  }
  if (sent) sent = co_await exchange.responder.finish();
  if (!sent) services.log.debug("a client that watched runs left", {{"error", sent.error()}});
}

Task<void> watch_topic(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string topic = exchange.params["topic"];
  const auto reader =
      co_await on_domain(services, exchange.request, [&services, topic] { return services.topic_feed.open(topic); });
  if (!reader) {
    co_await reply_error(exchange, reader.error());
    co_return;
  }
  auto sent = co_await start_events(exchange);
  for (bool over = exchange.request.method() == "HEAD"; sent && !over;) {
    const auto batch = co_await on_domain_while_wanted(services, exchange.request,
                                                       [&services, reader = *reader](std::stop_token left) {
                                                         return services.topic_feed.next(reader, kPatience, left);
                                                       });
    if (!batch) break;  // the client has left, or the server stops
    over = batch->topic_removed;
    sent = co_await exchange.responder.write(text_of(*batch));
  }
  if (sent) sent = co_await exchange.responder.finish();
  if (!sent) services.log.debug("a client that watched a topic left", {{"error", sent.error()}});
}

Task<void> follow_run_log(Exchange& exchange) {
  Services& services = exchange.services;
  const RunId run_id(exchange.params["id"]);
  Place place;
  Result<void> sent;
  for (bool started = false, over = false; sent && !over;) {
    const auto step =
        co_await on_domain_while_wanted(services, exchange.request, [&services, run_id, place](std::stop_token left) {
          return next_step(services, run_id, place, std::move(left));
        });
    const bool lost = step && !step->known;
    if (!started && (!step || lost)) {
      co_await reply_error(
          exchange,
          step ? Error{.code = Errc::not_found, .message = "run '" + run_id.str() + "' is not known"} : step.error());
      co_return;
    }
    if (!started) sent = co_await start_events(exchange);
    started = true;
    over = !step || lost || step->record.has_value() || exchange.request.method() == "HEAD";
    if (sent && step) sent = co_await exchange.responder.write(text_of(*step, place));
    place.looked = true;
  }
  if (sent) sent = co_await exchange.responder.finish();
  if (!sent) services.log.debug("a client that followed a log left", {{"error", sent.error()}});
}

}  // namespace millrace::routes
