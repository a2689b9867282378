// The one route table: method and path pattern to a function. A pattern part in braces takes one path part, `{key*}` at
// the end takes all that is left; parts are percent-decoded after matching, so an encoded '/' stays inside its part.
//
// Threads: built once, then read by every io thread.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "async/task.h"
#include "core/error.h"
#include "gateway/services.h"
#include "net/http_exchange.h"
#include "net/http_message.h"

namespace millrace {

using PathParams = std::map<std::string, std::string, std::less<>>;

// One request on its way through a route.
struct Exchange {
  Services& services;
  HttpRequest& request;
  HttpResponder& responder;
  PathParams params;
};

using RouteFunction = Task<void> (*)(Exchange& exchange);

struct Route {
  std::string_view method;
  std::string_view pattern;
  RouteFunction function;
  std::string_view query = {};  // the parameters that it takes, between blanks; "name?" is yes or no (query_flag)
  bool open = false;            // no token needed
  bool everywhere = false;      // also on nodes without the gateway role
};

// Every route of the daemon, in one place; docs and tests read it too.
[[nodiscard]] std::span<const Route> route_table();

struct RouteMatch {
  const Route* route = nullptr;  // null: no such path, or not with this method
  PathParams params;
  std::string allowed;  // "GET, HEAD, POST": with which methods the path exists, when this is none of them
};

// `path` is still encoded. HEAD is served by GET's route. `invalid_argument` for a wrong percent escape or an encoded
// NUL.
[[nodiscard]] Result<RouteMatch> match_route(std::span<const Route> table, std::string_view method,
                                             std::string_view path);

// `invalid_argument` naming a parameter that the route does not take, or that is there twice, with those that it takes;
// and a value that is neither yes nor no where it takes only these.
[[nodiscard]] Result<void> check_query(const Route& route, const HttpQuery& query);

}  // namespace millrace
