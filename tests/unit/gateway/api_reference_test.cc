// docs/reference/http-api.md has every route with its parameters, and every error code with its status.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <sstream>

#include "gateway/router.h"
#include "net/http_message.h"
#include "tests/support/repository.h"

namespace millrace {
namespace {

struct Section {
  std::string route;                 // "GET /api/v1/runs"
  std::set<std::string> parameters;  // flags with a '?' behind, as the table has them
};

std::string in_backticks(const std::string& line) {
  const auto begin = line.find('`') + 1;
  return line.substr(begin, line.find('`', begin) - begin);
}

std::vector<Section> sections_of_page() {
  std::vector<Section> sections;
  std::istringstream lines(test::repository_file("docs/reference/http-api.md"));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("### `")) sections.push_back({.route = in_backticks(line), .parameters = {}});
    if (!line.starts_with("- `")) continue;
    EXPECT_FALSE(sections.empty()) << line;
    const bool flag = line.find("*(yes or no)*") != std::string::npos;
    sections.back().parameters.insert(in_backticks(line) + (flag ? "?" : ""));
  }
  return sections;
}

TEST(ApiReference, HasEveryRouteInItsOrderAndNoOther) {
  std::vector<std::string> routes;
  for (const auto& route : route_table())
    routes.push_back(std::string(route.method) + " " + std::string(route.pattern));
  std::vector<std::string> told;
  for (const auto& section : sections_of_page()) told.push_back(section.route);
  EXPECT_EQ(told, routes);
}

TEST(ApiReference, HasEveryParameterOfEveryRoute) {
  for (const auto& route : route_table()) {
    std::istringstream words{std::string(route.query)};
    std::set<std::string> taken;
    for (std::string word; words >> word;) taken.insert(word);
    const std::string name = std::string(route.method) + " " + std::string(route.pattern);
    for (const auto& section : sections_of_page()) {
      if (section.route == name) EXPECT_EQ(section.parameters, taken) << name;
    }
  }
}

TEST(ApiReference, HasEveryErrorCodeWithItsStatus) {
  const std::string page = test::repository_file("docs/reference/http-api.md");
  for (auto code = Errc::cancelled;; code = static_cast<Errc>(static_cast<int>(code) + 1)) {
    const std::string row = "\n| `" + std::string(name_of(code)) + "` | " + std::to_string(http_status_of(code)) +
                            " | " + (retryable(code) ? "yes" : "no") + " | ";
    EXPECT_THAT(page, testing::HasSubstr(row));
    if (code == Errc::internal) break;
  }
}

}  // namespace
}  // namespace millrace
