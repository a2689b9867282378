#include <string>
#include <utility>

#include "gateway/reply.h"
#include "gateway/routes.h"

namespace millrace::routes {
namespace {

// What a reader had left just before it was thrown away.
Task<Result<Lag>> purge_of(Services& services, std::string topic, std::string named) {
  const auto group = co_await group_of(services, topic, std::move(named));
  if (!group) co_return fail(group.error());
  const auto lag = co_await services.broker.lag(topic, *group);
  if (!lag) co_return fail(lag.error());
  const auto purged = co_await services.broker.purge(topic, *group);
  if (!purged) co_return fail(purged.error());
  const std::string function = function_of(topic, *group);
  if (!function.empty()) services.runs.forget_waiting(topic, function);
  services.log.info("events were thrown away, as somebody asked for",
                    {{"topic", topic}, {"group", *group}, {"open", lag->open()}, {"dead", lag->dead}});
  co_return *lag;
}

}  // namespace

Task<void> purge_topic(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string topic = exchange.params["topic"];
  const std::string group = std::string(exchange.request.query("group").value_or(""));
  const auto gone = co_await on_domain(services, exchange.request,
                                       [&services, topic, group] { return purge_of(services, topic, group); });
  if (!gone) {
    co_await reply_error(exchange, gone.error());
    co_return;
  }
  co_await reply_json(exchange, 200,
                      Json::object({{"purged", gone->open() + gone->dead},
                                    {"waiting", gone->open() - gone->in_flight},
                                    {"in_flight", gone->in_flight},
                                    {"dead", gone->dead}}));
}

}  // namespace millrace::routes
