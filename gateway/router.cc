#include "gateway/router.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "formats/diagnostics.h"

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

constexpr std::size_t kShownMax = 64;

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    if (end > 0) words.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

std::string unknown_parameter(const Route& route, std::string_view name, const std::vector<std::string_view>& known) {
  std::string text = "query parameter '" + std::string(name.substr(0, kShownMax)) + "' is unknown";
  if (const auto near = nearest_name(name, known)) text += "; did you mean '" + std::string(*near) + "'?";
  text += (text.ends_with('?') ? " " : "; ") + std::string(route.method) + " " + std::string(route.pattern) + " takes ";
  if (known.empty()) return text + "none";
  for (const auto& each : known) {
    if (&each != &known.front()) text += ", ";
    text += each;
  }
  return text;
}

bool is_yes_or_no(std::string_view value) {
  constexpr std::array<std::string_view, 7> kWords{"", "yes", "true", "1", "no", "false", "0"};
  return std::ranges::find(kWords, value) != kWords.end();
}

}  // namespace

Result<void> check_query(const Route& route, const HttpQuery& query) {
  if (query.empty()) return {};
  std::vector<std::string_view> known = words_of(route.query);
  std::vector<std::string_view> flags;
  for (auto& name : known) {
    if (!name.ends_with('?')) continue;
    name.remove_suffix(1);
    flags.push_back(name);
  }
  std::vector<std::string_view> had;
  for (const auto& [name, value] : query) {
    if (std::ranges::find(known, name) == known.end()) {
      return fail(Errc::invalid_argument, unknown_parameter(route, name, known));
    }
    if (std::ranges::find(had, name) != had.end()) {
      return fail(Errc::invalid_argument, "query parameter '" + name + "' is there twice");
    }
    if (std::ranges::find(flags, name) != flags.end() && !is_yes_or_no(value)) {
      return fail(Errc::invalid_argument, "query parameter '" + name + "' is '" + value.substr(0, kShownMax) +
                                              "'; expected yes, true, 1 or nothing, or no, false, 0");
    }
    had.push_back(name);
  }
  return {};
}

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
