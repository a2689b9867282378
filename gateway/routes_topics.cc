#include <algorithm>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/user_topics.h"
#include "formats/object_reader.h"
#include "formats/timestamp.h"
#include "formats/topic_name.h"
#include "gateway/reply.h"
#include "gateway/routes.h"

namespace millrace::routes {
namespace {

// A topic as one of its groups sees it; one without a group has a row as well.
struct TopicRow {
  std::string name;
  std::string group;     // empty: there is none
  std::string function;  // that reads it; empty: nobody knows
  TopicInfo info;
  Lag lag;
  TopicRates::Rates rates;
};

Task<Result<std::vector<TopicRow>>> rows_of(Services& services, std::string name) {
  std::vector<TopicRow> rows;
  auto info = co_await services.broker.describe(name);
  if (!info) co_return fail(info.error());
  std::vector<std::string> groups = info->spec.groups;
  std::ranges::sort(groups);
  if (groups.empty()) groups.emplace_back();
  for (auto& group : groups) {
    TopicRow row{
        .name = name, .group = group, .function = function_of(name, group), .info = *info, .lag = {}, .rates = {}};
    if (group.empty()) {
      row.lag.pending = info->messages;
    } else {
      const auto lag = co_await services.broker.lag(name, group);
      if (!lag && lag.error().code == Errc::not_found) continue;  // it went meanwhile
      if (!lag) co_return fail(lag.error());
      row.lag = *lag;
    }
    row.rates = services.topic_rates.note(name + "/" + group, info->published, row.lag.open() + row.lag.dead,
                                          services.domain.now());
    rows.push_back(std::move(row));
  }
  co_return rows;
}

Task<Result<std::vector<TopicRow>>> all_topics(Services& services) {
  const auto names = co_await services.broker.topics();
  if (!names) co_return fail(names.error());
  std::vector<TopicRow> rows;
  for (const auto& name : *names) {
    auto found = co_await rows_of(services, name);
    if (!found && found.error().code == Errc::not_found) continue;  // it went meanwhile
    if (!found) co_return fail(found.error());
    std::ranges::move(*found, std::back_inserter(rows));
  }
  co_return rows;
}

Json to_json(const TopicRow& row) {
  const auto text = [](const std::string& value) { return value.empty() ? Json() : Json(value); };
  const auto rate = [](const std::optional<double>& value) { return value ? Json(*value) : Json(); };
  return Json::object({{"name", row.name},
                       {"kind", is_user_topic_name(row.name) ? "user" : "work"},
                       {"group", text(row.group)},
                       {"function", text(row.function)},
                       {"pending", row.lag.pending},
                       {"in_flight", row.lag.in_flight},
                       {"delayed", row.lag.delayed},
                       {"blocked", row.lag.blocked},
                       {"dead", row.lag.dead},
                       {"oldest_ms", row.lag.oldest.count()},
                       {"overdue", row.lag.overdue},
                       {"published", row.info.published},
                       {"published_per_s", rate(row.rates.published_per_s)},
                       {"consumed_per_s", rate(row.rates.consumed_per_s)},
                       {"messages_max", row.info.spec.messages_max},
                       {"bytes_max", row.info.spec.bytes_max}});
}

}  // namespace

Task<Result<std::string>> group_of(Services& services, std::string topic, std::string named) {
  if (!named.empty()) co_return named;
  if (topic.starts_with(kWorkTopicPrefix)) co_return std::string(kWorkersGroup);
  const auto info = co_await services.broker.describe(topic);
  if (!info) co_return fail(info.error());
  if (info->spec.groups.size() == 1) co_return info->spec.groups.front();
  if (info->spec.groups.empty()) co_return fail(Errc::not_found, "nobody reads topic '" + topic + "' yet");
  co_return fail(Errc::invalid_argument, "topic '" + topic + "' has " + std::to_string(info->spec.groups.size()) +
                                             " groups; name one by the query parameter 'group'");
}

namespace {

Task<Result<std::vector<DeadLetter>>> letters_of(Services& services, std::string topic, std::string named,
                                                 std::string after, std::size_t limit) {
  const auto group = co_await group_of(services, topic, std::move(named));
  if (!group) co_return fail(group.error());
  auto letters = co_await services.broker.dead_letters(topic, *group, std::move(after), limit);
  co_return letters;
}

Task<Result<std::uint64_t>> redrive_of(Services& services, std::string topic, std::string named,
                                       std::vector<std::string> ids) {
  const auto group = co_await group_of(services, topic, std::move(named));
  if (!group) co_return fail(group.error());
  auto count = co_await services.broker.redrive(topic, *group, std::move(ids));
  co_return count;
}

struct RemovedTopic {
  std::uint64_t waiting = 0;  // at all readers, or for the first
  std::uint64_t in_flight = 0;
  std::uint64_t dead = 0;
};

// What it held just before.
Task<Result<RemovedTopic>> remove_of(Services& services, std::string topic) {
  const auto rows = co_await rows_of(services, topic);
  if (!rows) co_return fail(rows.error());
  RemovedTopic removed;
  for (const auto& row : *rows) {
    removed.waiting += row.lag.open() - row.lag.in_flight;
    removed.in_flight += row.lag.in_flight;
    removed.dead += row.lag.dead;
  }
  const auto done = co_await services.registry.remove_topic(topic);
  if (!done) co_return fail(done.error());
  services.runs.forget_waiting(topic, "");
  services.log.info("a topic was removed, as somebody asked for",
                    {{"topic", topic}, {"open", removed.waiting + removed.in_flight}, {"dead", removed.dead}});
  co_return removed;
}

Result<TopicBounds> bounds_of(const std::string& body, std::size_t bytes_max) {
  TopicBounds bounds;
  if (body.empty()) return bounds;
  const auto json = parse_json(body, bytes_max);
  if (!json) return fail(json.error());
  Diagnostics problems;
  ObjectReader in(*json, "", problems);
  if (in.find("bytes_max") != nullptr) bounds.bytes_max = in.bytes("bytes_max", 0, {.min = 1 << 10, .max = 1ULL << 50});
  if (in.find("messages_max") != nullptr) {
    bounds.messages_max = in.integer("messages_max", std::uint64_t{0}, {.min = 1, .max = 1ULL << 40});
  }
  bounds.readers = in.texts("readers");
  in.refuse_unknown();
  if (!problems.empty()) return fail(problems.to_error("the bounds of the topic"));
  return bounds;
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
  for (const auto& row : *rows) list.append(to_json(row));
  const auto durability = services.broker.capabilities().confirm;
  co_await reply_json(exchange, 200, Json::object({{"topics", std::move(list)}, {"durability", name_of(durability)}}));
}

// Body: {"bytes_max": "1Gi", "messages_max": 1000, "readers": ["audit"]}, all optional; without them what is there
// stays.
Task<void> make_topic(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string topic = exchange.params["topic"];
  const auto body = co_await exchange.request.read_body(services.limits.request_bytes_max);
  const auto bounds = body ? bounds_of(*body, services.limits.request_bytes_max) : fail(body.error());
  if (!bounds) {
    co_await reply_error(exchange, bounds.error());
    co_return;
  }
  const auto made = co_await on_domain(services, exchange.request, [&services, topic, bounds] {
    return services.registry.topics().make(topic, *bounds);
  });
  if (!made) {
    co_await reply_error(exchange, made.error());
    co_return;
  }
  co_await reply_json(exchange, *made ? 201 : 200, Json::object({{"topic", topic}, {"created", *made}}));
}

Task<void> remove_topic(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string topic = exchange.params["topic"];
  const auto removed =
      co_await on_domain(services, exchange.request, [&services, topic] { return remove_of(services, topic); });
  if (!removed) {
    co_await reply_error(exchange, removed.error());
    co_return;
  }
  co_await reply_json(exchange, 200,
                      Json::object({{"topic", topic},
                                    {"removed", true},
                                    {"waiting", removed->waiting},
                                    {"in_flight", removed->in_flight},
                                    {"dead", removed->dead}}));
}

Task<void> list_dead_letters(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string topic = exchange.params["topic"];
  const std::string after = std::string(exchange.request.query("after").value_or(""));
  const std::string group = std::string(exchange.request.query("group").value_or(""));
  const auto limit = query_number(exchange.request, "limit", 100, 1'000);
  if (!limit) {
    co_await reply_error(exchange, limit.error());
    co_return;
  }
  const auto letters = co_await on_domain(services, exchange.request, [&services, topic, group, after, limit] {
    return letters_of(services, topic, group, after, *limit);
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
  const std::string group = std::string(exchange.request.query("group").value_or(""));
  const auto count = co_await on_domain(
      services, exchange.request, [&services, topic, group, ids] { return redrive_of(services, topic, group, ids); });
  if (!count) {
    co_await reply_error(exchange, count.error());
    co_return;
  }
  co_await reply_json(exchange, 200, Json::object({{"redriven", *count}}));
}

}  // namespace millrace::routes
