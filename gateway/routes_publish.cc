// Publishing on user topics, as the HTTP binding of CloudEvents says: binary, structured and batched mode. What is no
// CloudEvent is opaque data.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "formats/cloudevents.h"
#include "formats/media_type.h"
#include "gateway/reply.h"
#include "gateway/routes.h"
#include "net/http_message.h"

namespace millrace::routes {
namespace {

// The publisher's own word for what belongs together, an extension that CloudEvents defines.
constexpr std::string_view kPartitionKey = "partitionkey";

enum class Mode : std::uint8_t { one, batch };

struct Publishing {
  std::string topic;
  Mode mode = Mode::one;
  std::vector<Event> events;
  Sending sending;
  std::string key;
  bool structured = false;
};

// Attributes as headers, decoded; whoever sends no percent signs is understood, too.
Headers attributes_of(const HttpRequest& request) {
  Headers headers;
  for (const auto& [name, value] : request.headers()) {
    if (http_names_equal(name, "Content-Type")) headers.emplace_back("content-type", value);
    if (name.size() <= 3 || !http_names_equal(std::string_view(name).substr(0, 3), "ce-")) continue;
    headers.emplace_back(name, percent_decode(value).value_or(value));
  }
  return headers;
}

Result<std::vector<Event>> events_of(const HttpRequest& request, std::string body, std::size_t bytes_max, Mode& mode) {
  const std::string_view type = request.header("Content-Type").value_or("");
  std::vector<Event> events;
  if (same_media_type(type, kBatchType)) {
    mode = Mode::batch;
    return events_from_batch(body, bytes_max);
  }
  if (without_parameters(type).starts_with("application/cloudevents") && !same_media_type(type, kStructuredType)) {
    return fail(Errc::invalid_argument, "content type '" + std::string(type.substr(0, 64)) +
                                            "' is not understood; expected " + std::string(kStructuredType) + " or " +
                                            std::string(kBatchType));
  }
  auto event = same_media_type(type, kStructuredType) ? event_from_structured(body)
                                                      : event_from_attributes(attributes_of(request), std::move(body));
  if (!event) return fail(event.error());
  events.push_back(std::move(*event));
  return events;
}

// What a publisher leaves out. An id that is not given is made once the event is taken.
Result<void> complete(Event& event, const std::string& topic, const HttpRequest& request) {
  if (event.source.empty()) event.source = "/api/v1/topics/" + topic;
  auto key = idempotency_key(request);
  if (!key) return fail(std::move(key.error()));
  if (event.source_id.empty()) event.source_id = std::move(*key);
  if (event.type.empty()) event.type = kPublished;
  return check_event_size(event);
}

std::string key_of(const Publishing& publishing, const Event& event, bool can_order) {
  if (!publishing.key.empty() || !can_order) return publishing.key;
  const auto found = std::ranges::find(event.extensions, kPartitionKey, &std::pair<std::string, std::string>::first);
  return found == event.extensions.end() ? std::string() : found->second;
}

Result<bool> query_structured(const HttpRequest& request) {
  const auto mode = request.query("mode").value_or("binary");
  if (mode == "binary" || mode == "structured") return mode == "structured";
  return fail(Errc::invalid_argument,
              "query parameter 'mode' is '" + std::string(mode.substr(0, 64)) + "'; expected binary or structured");
}

struct Published {
  std::vector<std::string> ids;     // at the source
  std::vector<std::string> events;  // ours, which runs and `why` know them by
  std::vector<Result<Receipt>> receipts;
};

Task<Result<Published>> publish_all(Services& services, Publishing publishing) {
  if (auto named = check_user_topic(publishing.topic); !named) co_return fail(named.error());
  const bool can_order = services.broker.capabilities().ordered_keys;
  Published published;
  std::vector<Outgoing> batch;
  for (auto& event : publishing.events) {
    services.ingest.stamp_root(event);
    published.ids.push_back(event.source_id);
    published.events.push_back(event.id.str());
    Outgoing message{.id = event.id.str(), .event = {}, .delay = publishing.sending.delay};
    message.key = key_of(publishing, event, can_order);
    message.priority = publishing.sending.priority;
    message.structured = publishing.structured;
    message.event = std::move(event);
    batch.push_back(std::move(message));
  }
  published.receipts = co_await services.registry.topics().publish(publishing.topic, std::move(batch));
  co_return published;
}

// Of several events some may be taken and some not: the answer names those that are not, and what was taken stands.
Task<void> reply_batch(Exchange& exchange, const std::string& topic, const Published& published) {
  Json failed = Json::array();
  std::optional<Error> first;
  std::uint64_t duplicates = 0;
  for (std::size_t i = 0; i < published.receipts.size(); ++i) {
    const auto& receipt = published.receipts[i];
    if (receipt) {
      duplicates += receipt->duplicate ? 1 : 0;
      continue;
    }
    if (!first) first = receipt.error();
    failed.append(Json::object({{"index", i},
                                {"id", published.ids[i]},
                                {"code", name_of(receipt.error().code)},
                                {"message", receipt.error().message}}));
  }
  Json body = Json::object(
      {{"topic", topic}, {"accepted", published.receipts.size() - failed.items().size()}, {"duplicates", duplicates}});
  if (!first) {
    co_await reply_json(exchange, 202, std::move(body));
    co_return;
  }
  body.set("error", Json::object({{"code", name_of(first->code)}, {"message", first->message}}));
  body.set("failed", std::move(failed));
  co_await reply_json(exchange, http_status_of(first->code), std::move(body));
}

}  // namespace

// The answer comes when the broker has confirmed all of it.
Task<void> publish_event(Exchange& exchange) {
  Services& services = exchange.services;
  Publishing publishing{.topic = exchange.params["topic"], .mode = Mode::one, .events = {}, .sending = {}, .key = {}};
  const auto sending = query_sending(exchange.request);
  const auto structured = query_structured(exchange.request);
  if (!sending || !structured) {
    co_await reply_error(exchange, sending ? structured.error() : sending.error());
    co_return;
  }
  publishing.sending = *sending;
  publishing.structured = *structured;
  publishing.key = std::string(exchange.request.query("key").value_or(""));
  // Events as JSON are longer than what they say.
  const bool as_json =
      exchange.request.header("Content-Type").value_or("").find("cloudevents") != std::string_view::npos;
  const std::size_t bytes_max = as_json ? services.limits.request_bytes_max : services.limits.event_bytes_max;
  auto body = co_await exchange.request.read_body(bytes_max);
  if (!body) {
    co_await reply_error(exchange, body.error());
    co_return;
  }
  auto events = events_of(exchange.request, std::move(*body), bytes_max, publishing.mode);
  Result<void> complete_ones;
  if (events) {
    for (auto& event : *events) {
      if (complete_ones) complete_ones = complete(event, publishing.topic, exchange.request);
    }
  }
  if (!events || !complete_ones) {
    co_await reply_error(exchange, events ? complete_ones.error() : events.error());
    co_return;
  }
  publishing.events = std::move(*events);
  const std::string topic = publishing.topic;
  const Mode mode = publishing.mode;
  const auto published = co_await on_domain(services, exchange.request,
                                            [&services, publishing] { return publish_all(services, publishing); });
  if (!published) {
    co_await reply_error(exchange, published.error());
    co_return;
  }
  if (mode == Mode::batch) {
    co_await reply_batch(exchange, topic, *published);
    co_return;
  }
  const auto& receipt = published->receipts.front();
  if (!receipt) {
    co_await reply_error(exchange, receipt.error());
    co_return;
  }
  co_await reply_json(exchange, 202,
                      Json::object({{"topic", topic},
                                    {"id", published->ids.front()},
                                    {"duplicate", receipt->duplicate},
                                    {"event_id", published->events.front()}}));
}

}  // namespace millrace::routes
