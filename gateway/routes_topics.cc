#include <string>
#include <utility>
#include <vector>

#include "formats/event_codec.h"
#include "formats/identity.h"
#include "formats/timestamp.h"
#include "gateway/reply.h"
#include "gateway/routes.h"

namespace millrace::routes {
namespace {

struct TopicRow {
  std::string name;
  Lag lag;
};

Task<Result<std::vector<TopicRow>>> all_topics(Services& services) {
  const auto names = co_await services.broker.topics();
  if (!names) co_return fail(names.error());
  std::vector<TopicRow> rows;
  for (const auto& name : *names) {
    const auto lag = co_await services.broker.lag(name, std::string(kWorkersGroup));
    if (lag) rows.push_back({.name = name, .lag = *lag});
  }
  co_return rows;
}

Task<Result<Receipt>> publish_one(Services& services, std::string topic, Event event, Sending sending) {
  const auto named = check_topic_name(topic);
  if (!named) co_return fail(named.error());
  if (topic.starts_with("fn.")) {
    co_return fail(Errc::invalid_argument, "'" + topic + "' is a work topic; invoke the function instead");
  }
  services.ingest.stamp_root(event);
  const auto ensured = co_await services.broker.ensure({.name = topic, .groups = {std::string(kWorkersGroup)}});
  if (!ensured) co_return fail(ensured.error());
  std::vector<Outgoing> batch;
  batch.push_back(
      {.id = event.id.str(), .event = std::move(event), .delay = sending.delay, .priority = sending.priority});
  auto receipts = co_await services.broker.publish(topic, std::move(batch));
  co_return std::move(receipts.front());
}

Json to_json(const DeadLetter& letter) {
  return Json::object({{"position", letter.position},
                       {"id", letter.id},
                       {"event_id", letter.event.id.str()},
                       {"reason", letter.reason},
                       {"failures", letter.counters.failures},
                       {"losses", letter.counters.losses},
                       {"redrives", letter.redrives},
                       {"died_at", format_timestamp(letter.died_at)},
                       {"key", letter.event.object ? Json(letter.event.object->key) : Json()}});
}

}  // namespace

Task<void> list_topics(Exchange& exchange) {
  Services& services = exchange.services;
  const auto rows = co_await on_domain(services, exchange.request, [&services] { return all_topics(services); });
  if (!rows) {
    co_await reply_error(exchange, rows.error());
    co_return;
  }
  Json list = Json::array();
  for (const auto& row : *rows) {
    list.append(Json::object({{"name", row.name},
                              {"pending", row.lag.pending},
                              {"in_flight", row.lag.in_flight},
                              {"delayed", row.lag.delayed},
                              {"blocked", row.lag.blocked},
                              {"dead", row.lag.dead},
                              {"oldest_ms", row.lag.oldest.count()},
                              {"overdue", row.lag.overdue}}));
  }
  const auto durability = services.broker.capabilities().confirm;
  co_await reply_json(exchange, 200, Json::object({{"topics", std::move(list)}, {"durability", name_of(durability)}}));
}

// CloudEvents in binary mode: attributes are `ce-` headers. A body without them is opaque data.
Task<void> publish_event(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string topic = exchange.params["topic"];
  const auto sending = query_sending(exchange.request);
  if (!sending) {
    co_await reply_error(exchange, sending.error());
    co_return;
  }
  auto body = co_await exchange.request.read_body(services.limits.event_bytes_max);
  if (!body) {
    co_await reply_error(exchange, body.error());
    co_return;
  }
  Event event;
  event.source = std::string(exchange.request.header("ce-source").value_or(""));
  if (event.source.empty()) event.source = "/api/v1/topics/" + topic;
  event.source_id = std::string(exchange.request.header("ce-id").value_or(""));
  if (event.source_id.empty()) event.source_id = std::string(exchange.request.header("Idempotency-Key").value_or(""));
  event.type = std::string(exchange.request.header("ce-type").value_or(""));
  if (event.type.empty()) event.type = "millrace.published";
  event.subject = std::string(exchange.request.header("ce-subject").value_or(""));
  event.content_type = std::string(exchange.request.header("Content-Type").value_or(""));
  event.data = std::move(*body);
  const auto receipt = co_await on_domain(services, exchange.request, [&services, topic, event, sending] {
    return publish_one(services, topic, event, *sending);
  });
  if (!receipt) {
    co_await reply_error(exchange, receipt.error());
    co_return;
  }
  co_await reply_json(exchange, 202, Json::object({{"topic", topic}, {"duplicate", receipt->duplicate}}));
}

Task<void> list_dead_letters(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string topic = exchange.params["topic"];
  const std::string after = std::string(exchange.request.query("after").value_or(""));
  const auto limit = query_number(exchange.request, "limit", 100, 1'000);
  if (!limit) {
    co_await reply_error(exchange, limit.error());
    co_return;
  }
  const auto letters = co_await on_domain(services, exchange.request, [&services, topic, after, limit] {
    return services.broker.dead_letters(topic, std::string(kWorkersGroup), after, *limit);
  });
  if (!letters) {
    co_await reply_error(exchange, letters.error());
    co_return;
  }
  Json list = Json::array();
  for (const auto& letter : *letters) list.append(to_json(letter));
  co_await reply_json(exchange, 200, Json::object({{"dead_letters", std::move(list)}}));
}

// Body: {"ids": ["...", ...]}; an empty body redrives all.
Task<void> redrive_dead_letters(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string topic = exchange.params["topic"];
  auto body = co_await exchange.request.read_body(services.limits.request_bytes_max);
  if (!body) {
    co_await reply_error(exchange, body.error());
    co_return;
  }
  std::vector<std::string> ids;
  if (!body->empty()) {
    const auto request = parse_json(*body, services.limits.request_bytes_max);
    const Json* list = request ? request->find("ids") : nullptr;
    if (!request || list == nullptr || !list->is_array()) {
      co_await reply_error(exchange, request
                                         ? Error{.code = Errc::invalid_argument, .message = "expected {\"ids\": [...]}"}
                                         : request.error());
      co_return;
    }
    for (const auto& id : list->items()) {
      if (id.is_string()) ids.push_back(*id.string());
    }
    if (ids.empty() || ids.size() != list->items().size()) {
      co_await reply_error(exchange,
                           {.code = Errc::invalid_argument, .message = "ids must be a list of texts, not empty"});
      co_return;
    }
  }
  const auto count = co_await on_domain(services, exchange.request, [&services, topic, ids] {
    return services.broker.redrive(topic, std::string(kWorkersGroup), ids);
  });
  if (!count) {
    co_await reply_error(exchange, count.error());
    co_return;
  }
  co_await reply_json(exchange, 200, Json::object({{"redriven", *count}}));
}

}  // namespace millrace::routes
