#include "gateway/reply.h"

#include <charconv>
#include <utility>

#include "core/units.h"
#include "net/http_message.h"

namespace millrace {

// A failed send means that the client left: there is nobody to tell, so the routes do not look at it either.
Task<void> reply_json(Exchange& exchange, int status, Json body, HttpHeaders headers) {
  headers.add("Content-Type", "application/json");
  const auto sent = co_await exchange.responder.send(status, std::move(headers), body.dump() + "\n");
  if (!sent) exchange.services.log.debug("answer not sent", {{"error", sent.error()}});
}

Task<void> reply_error(Exchange& exchange, Error error) {
  HttpHeaders headers{{"Content-Type", "application/json"}};
  if (error.code == Errc::unauthenticated) headers.add("WWW-Authenticate", "Bearer, Basic realm=\"millrace\"");
  if (retryable(error.code)) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(error.retry_after).count();
    headers.add("Retry-After", std::to_string(seconds > 0 ? seconds : 1));
  }
  const Json body =
      Json::object({{"error", Json::object({{"code", name_of(error.code)}, {"message", std::move(error.message)}})}});
  const auto sent =
      co_await exchange.responder.send(http_status_of(error.code), std::move(headers), body.dump() + "\n");
  if (!sent) exchange.services.log.debug("answer not sent", {{"error", sent.error()}});
}

Task<void> reply_empty(Exchange& exchange, int status) {
  const auto sent = co_await exchange.responder.send(status, {}, {});
  if (!sent) exchange.services.log.debug("answer not sent", {{"error", sent.error()}});
}

Result<std::uint64_t> query_number(const HttpRequest& request, std::string_view name, std::uint64_t fallback,
                                   std::uint64_t max) {
  const auto text = request.query(name);
  if (!text) return fallback;
  std::uint64_t number = 0;
  const char* const end = text->data() + text->size();
  const auto [stopped, error] = std::from_chars(text->data(), end, number);
  if (error != std::errc{} || stopped != end || number == 0 || number > max) {
    return fail(Errc::invalid_argument,
                "query parameter '" + std::string(name) + "' must be a number from 1 to " + std::to_string(max));
  }
  return number;
}

Result<Sending> query_sending(const HttpRequest& request) {
  Sending sending;
  if (const auto delay = request.query("delay")) {
    const auto parsed = parse_duration(*delay);
    if (!parsed) return fail(parsed.error().with("query parameter 'delay'"));
    sending.delay = *parsed;
  }
  const auto priority = request.query("priority").value_or("normal");
  if (priority == "low") {
    sending.priority = Priority::low;
  } else if (priority == "high") {
    sending.priority = Priority::high;
  } else if (priority != "normal") {
    return fail(Errc::invalid_argument, "query parameter 'priority' is '" + std::string(priority.substr(0, 64)) +
                                            "'; expected low, normal or high");
  }
  return sending;
}

bool query_flag(const HttpRequest& request, std::string_view name) {
  const auto text = request.query(name);
  return text && (text->empty() || *text == "yes" || *text == "true" || *text == "1");
}

Result<std::string> idempotency_key(const HttpRequest& request) {
  const auto key = request.header("Idempotency-Key");
  if (!key) return std::string();
  if (key->empty())
    return fail(Errc::invalid_argument, "header 'Idempotency-Key' is empty: leave it out, or give a key");
  return std::string(*key);
}

}  // namespace millrace
