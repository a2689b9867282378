#include "gateway/gateway.h"

#include "gateway/auth.h"
#include "gateway/reply.h"
#include "gateway/router.h"

namespace millrace {

Task<void> Gateway::handle(HttpRequest& request, HttpResponder& responder) {
  Exchange exchange{.services = services_, .request = request, .responder = responder, .params = {}};
  auto match = match_route(route_table(), request.method(), request.raw_path());
  // The token comes first, so that a stranger learns nothing about what exists.
  const bool open = match && match->route != nullptr && match->route->open;
  if (!open) {
    const auto known = check_authorization(request.header("Authorization").value_or(""), services_.token);
    if (!known) {
      co_await reply_error(exchange, known.error());
      co_return;
    }
  }
  if (!match) {
    co_await reply_error(exchange, match.error());
    co_return;
  }
  if (match->route == nullptr) {
    const std::string what = request.method() + " " + std::string(request.raw_path().substr(0, 200));
    if (match->allowed.empty()) {
      co_await reply_error(exchange, Error{.code = Errc::not_found, .message = what + ": no such route"});
      co_return;
    }
    Json error = Json::object({{"code", "unimplemented"}, {"message", what + ": only " + match->allowed}});
    HttpHeaders headers{{"Allow", std::move(match->allowed)}};
    co_await reply_json(exchange, 405, Json::object({{"error", std::move(error)}}), std::move(headers));
    co_return;
  }
  if (!services_.has_api && !match->route->everywhere) {
    co_await reply_error(exchange, Error{.code = Errc::failed_precondition,
                                         .message = "node '" + services_.node +
                                                    "' is no gateway and serves only /health and /metrics; ask one "
                                                    "that is (`millrace nodes` there lists them)"});
    co_return;
  }
  const auto understood = check_query(*match->route, request.query());
  if (!understood) {
    co_await reply_error(exchange, understood.error());
    co_return;
  }
  exchange.params = std::move(match->params);
  co_await match->route->function(exchange);
}

}  // namespace millrace
