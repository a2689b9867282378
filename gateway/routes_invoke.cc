#include <string>
#include <utility>

#include "formats/record_json.h"
#include "gateway/reply.h"
#include "gateway/routes.h"

namespace millrace::routes {
namespace {

constexpr std::size_t kReasonBytesMax = 512;

// A header holds one line of visible characters.
std::string header_text(std::string_view text) {
  std::string line;
  for (const char c : text.substr(0, kReasonBytesMax)) line += c >= 0x20 && c < 0x7f ? c : ' ';
  return line;
}

int status_of(const RunRecord& record) {
  if (record.outcome == RunOutcome::succeeded) return 200;
  if (record.outcome == RunOutcome::cancelled) return 503;
  return 500;
}

Task<void> invoke_later(Exchange& exchange, std::string function, Event event, Sending sending) {
  Services& services = exchange.services;
  const auto accepted = co_await on_domain(services, exchange.request, [&services, function, event, sending] {
    return services.ingest.invoke(function, event, sending);
  });
  if (!accepted) {
    co_await reply_error(exchange, accepted.error());
    co_return;
  }
  const auto& run = accepted->runs.front();
  co_await reply_json(
      exchange, 202,
      Json::object(
          {{"event_id", accepted->event_id.str()}, {"run_id", run.run_id.str()}, {"duplicate", run.duplicate}}));
}

}  // namespace

// The body is the event. Synchronous: the answer's body is what the function printed, headers say how it went.
Task<void> invoke_function(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string function = exchange.params["name"];
  const bool later = query_flag(exchange.request, "async");
  auto sending = query_sending(exchange.request);
  const bool sent_so = exchange.request.query("delay") || exchange.request.query("priority");
  if (sending && sent_so && !later) {
    sending = fail(Errc::invalid_argument, "delay and priority are for calls that nobody waits for: add `async`");
  }
  if (!sending) {
    co_await reply_error(exchange, sending.error());
    co_return;
  }
  auto key = idempotency_key(exchange.request);
  if (!key) {
    co_await reply_error(exchange, key.error());
    co_return;
  }
  auto body = co_await exchange.request.read_body(services.limits.event_bytes_max);
  if (!body) {
    co_await reply_error(exchange, body.error());
    co_return;
  }
  Event event;
  event.source = "/api/v1/functions/" + function + "/invoke";
  event.source_id = std::move(*key);
  event.type = kInvoke;
  event.content_type = std::string(exchange.request.header("Content-Type").value_or(""));
  event.data = std::move(*body);
  if (later) {
    co_await invoke_later(exchange, function, std::move(event), *sending);
    co_return;
  }

  const auto hold = services.limits.call_hold;
  auto record = co_await on_domain_while_wanted(services, exchange.request,
                                                [&services, function, event, hold](std::stop_token left) {
                                                  return services.calls.call(function, event, hold, std::move(left));
                                                });
  if (!record) {
    co_await reply_error(exchange, record.error());
    co_return;
  }
  HttpHeaders headers{
      {"Content-Type", "application/octet-stream"},
      {"X-Millrace-Run-Id", record->run_id.str()},
      {"X-Millrace-Outcome", std::string(name_of(record->outcome))},
      {"X-Millrace-Exit-Code", std::to_string(record->signal != 0 ? 128 + record->signal : record->exit_code)}};
  if (record->result_truncated) headers.add("X-Millrace-Result-Truncated", "true");
  if (!record->reason.empty()) headers.add("X-Millrace-Reason", header_text(record->reason));
  const auto sent = co_await exchange.responder.send(status_of(*record), std::move(headers), std::move(record->result));
  if (!sent) services.log.debug("answer not sent", {{"error", sent.error()}});
}

}  // namespace millrace::routes
