#include "gateway/router.h"

#include <utility>

#include "net/http_message.h"

namespace millrace {
namespace {

// The part before the next '/', which is taken off `rest` with it.
std::string_view next_part(std::string_view& rest) {
  const auto slash = rest.find('/');
  const auto part = rest.substr(0, slash);
  rest = slash == std::string_view::npos ? std::string_view() : rest.substr(slash + 1);
  return part;
}

Result<bool> matches(std::string_view pattern, std::string_view path, PathParams& params) {
  if (!path.starts_with('/')) return false;
  pattern.remove_prefix(1);
  path.remove_prefix(1);
  for (;;) {
    const bool pattern_ends = pattern.empty();
    if (pattern_ends || path.empty()) return pattern_ends && path.empty();
    const auto want = next_part(pattern);
    if (want.ends_with("*}")) {
      auto value = percent_decode(path);
      if (!value) return fail(value.error());
      params.emplace(want.substr(1, want.size() - 3), std::move(*value));
      return true;
    }
    const auto have = next_part(path);
    if (!want.starts_with('{')) {
      if (want != have) return false;
      continue;
    }
    auto value = percent_decode(have);
    if (!value) return fail(value.error());
    if (value->empty()) return false;
    params.emplace(want.substr(1, want.size() - 2), std::move(*value));
  }
}

void allow(std::string& methods, std::string_view method) {
  if (!methods.empty()) methods += ", ";
  methods += method;
  if (method == "GET") methods += ", HEAD";
}

}  // namespace

Result<RouteMatch> match_route(std::span<const Route> table, std::string_view method, std::string_view path) {
  RouteMatch match;
  const std::string_view wanted = method == "HEAD" ? "GET" : method;
  for (const auto& route : table) {
    PathParams params;
    const auto fits = matches(route.pattern, path, params);
    if (!fits) return fail(fits.error());
    if (!*fits) continue;
    if (route.method != wanted) {
      allow(match.allowed, route.method);
      continue;
    }
    return RouteMatch{.route = &route, .params = std::move(params), .allowed = {}};
  }
  return match;
}

}  // namespace millrace
