#include "gateway/gateway.h"

#include "gateway/auth.h"
#include "gateway/reply.h"
#include "gateway/router.h"

namespace millrace {

Task<void> Gateway::handle(HttpRequest& request, HttpResponder& responder) {
  Exchange exchange{.services = services_, .request = request, .responder = responder, .params = {}};
  auto match = match_route(route_table(), request.method(), request.raw_path());
  if (!match) {
    co_await reply_error(exchange, match.error());
    co_return;
  }
  // The token comes first, so that a stranger learns nothing about what exists.
  if (match->route == nullptr || !match->route->open) {
    const auto known = check_authorization(request.header("Authorization").value_or(""), services_.token);
    if (!known) {
      co_await reply_error(exchange, known.error());
      co_return;
    }
  }
  if (match->route == nullptr) {
    const std::string what = request.method() + " " + std::string(request.raw_path().substr(0, 200));
    if (match->other_method) {
      co_await reply_json(
          exchange, 405,
          Json::object(
              {{"error", Json::object({{"code", "unimplemented"}, {"message", what + ": not this method"}})}}));
    } else {
      co_await reply_error(exchange, Error{.code = Errc::not_found, .message = what + ": no such route"});
    }
    co_return;
  }
  exchange.params = std::move(match->params);
  co_await match->route->function(exchange);
}

}  // namespace millrace
