#include "cli/nodes.h"

#include <gtest/gtest.h>

namespace millrace::cli {
namespace {

TEST(Nodes, ShowWhatTheyHaveAndWhoIsGone) {
  const auto nodes = parse_json(
      R"([{"name": "a", "state": "live", "roles": "gateway,producer", "version": "0.1.0", "heartbeat_ago_ms": 1200,
           "cpu_millicores": 4000, "memory_bytes": 1073741824},
          {"name": "b", "state": "gone", "roles": "worker", "version": "0.2.0", "heartbeat_ago_ms": 90000, "running": 3,
           "cpu_millicores": 2000, "cpu_reserved_millicores": 1500, "memory_bytes": 1073741824,
           "memory_reserved_bytes": 536870912}])",
      1 << 20);
  ASSERT_TRUE(nodes);
  const std::string text = nodes_table(*nodes).to_text();
  EXPECT_NE(text.find("a     live   gateway,producer        0  0.0/4.0"), std::string::npos) << text;
  EXPECT_NE(text.find("b     gone   worker                  3  1.5/2.0  512 MiB/1.0 GiB"), std::string::npos) << text;
  EXPECT_NE(text.find("1.20 s ago"), std::string::npos) << text;
  EXPECT_NE(text.find("0.2.0"), std::string::npos) << text;
}

TEST(Nodes, NoneAreAnEmptyTable) {
  EXPECT_TRUE(nodes_table(Json::array()).empty());
}

}  // namespace
}  // namespace millrace::cli
