#include "cli/top.h"

#include <gtest/gtest.h>

namespace millrace::cli {
namespace {

TEST(Top, HasALineForEveryFunction) {
  const auto answer = parse_json(
      R"({"functions": [
        {"name": "a", "queued": 12, "running": 2, "delayed": 1, "dead": 3, "rate_per_s": 1.25, "wall_p99_us": 1500,
         "cpu_cores": 0.5, "memory_peak_bytes": 1048576},
        {"name": "b", "resting": {"reason": "no launcher"}}]})",
      1 << 20);
  ASSERT_TRUE(answer);
  EXPECT_EQ(top_table(*answer).to_text(),
            "FUNCTION  QUEUED  RUNNING  DELAYED  DEAD   RATE     P99   CPU   MEMORY  STATE\n"
            "a             12        2        1     3  1.2/s  1.5 ms  0.50  1.0 MiB\n"
            "b              0        0        0     0  0.0/s       -  0.00        -  resting: no launcher\n");
}

TEST(Top, OfNoFunctionsIsEmpty) {
  EXPECT_TRUE(top_table(Json::object()).empty());
}

}  // namespace
}  // namespace millrace::cli
