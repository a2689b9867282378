// The gateway: HTTP requests in, answers out. Finds the route, checks the token, turns errors into statuses.
//
//   Gateway gateway(services);
//   auto server = HttpServer::start(options, gateway, metrics);
//
// Threads: handlers run on io threads; what they need of the domain they fetch by on_domain().
#pragma once

#include "async/task.h"
#include "gateway/services.h"
#include "net/http_exchange.h"

namespace millrace {

class Gateway final : public HttpHandler {
 public:
  explicit Gateway(Services services) : services_(std::move(services)) {}

  // Before the first request.
  void set_token(std::string token) { services_.token = std::move(token); }

  Task<void> handle(HttpRequest& request, HttpResponder& responder) override;

 private:
  Services services_;
};

}  // namespace millrace
