#include "engine/capacity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::uint64_t kMebibyte = 1 << 20;

NodeRow node(const std::string& name, std::uint64_t memory_bytes, std::uint64_t cpu_millicores) {
  NodeRow row;
  row.name = name;
  row.roles = "producer,worker";
  row.memory_bytes = memory_bytes;
  row.cpu_millicores = cpu_millicores;
  return row;
}

FunctionSpec function(std::uint64_t memory_bytes, std::uint32_t cpu_millicores) {
  FunctionSpec spec;
  spec.memory_bytes = memory_bytes;
  spec.memory_explicit = true;
  spec.cpu_millicores = cpu_millicores;
  return spec;
}

std::vector<std::string> warnings(const FunctionSpec& spec, const std::vector<NodeRow>& nodes) {
  const auto found = check_capacity(spec, nodes);
  EXPECT_TRUE(found) << found.error().message;
  return found.value_or(std::vector<std::string>{"refused"});
}

TEST(Capacity, AllThatEveryWorkerHasIsTakenInSilence) {
  const std::vector nodes{node("a", 1024 * kMebibyte, 2000), node("b", 2048 * kMebibyte, 4000)};
  EXPECT_THAT(warnings(function(1024 * kMebibyte, 2000), nodes), IsEmpty());
}

TEST(Capacity, MoreThanAnyWorkerHasIsRefusedWithTheMostThatOneHas) {
  const std::vector nodes{node("a", 1024 * kMebibyte, 4000), node("b", 2048 * kMebibyte + 5, 2000)};
  const auto memory = check_capacity(function(2049 * kMebibyte, 100), nodes);
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code, Errc::invalid_argument);
  EXPECT_EQ(memory.error().message,
            "memory: 2049Mi is more than any node has for functions: the most is 2Gi on node 'b'; lower it, or raise "
            "the option memory of that node");
  const auto cpu = check_capacity(function(kMebibyte, 4001), nodes);
  ASSERT_FALSE(cpu);
  EXPECT_EQ(cpu.error().message,
            "cpu: 4001m is more than any node has for functions: the most is 4 on node 'a'; lower it, or raise the "
            "option cpu of that node");
}

TEST(Capacity, OfWhatOnlySomeWorkersHaveTheSmallestIsNamed) {
  const std::vector nodes{node("a", 1024 * kMebibyte, 4000), node("b", 2048 * kMebibyte, 2000)};
  EXPECT_THAT(warnings(function(1025 * kMebibyte, 2001), nodes),
              ElementsAre(HasSubstr("memory: 1025Mi is more than some nodes have for functions: the least is 1Gi on "
                                    "node 'a'"),
                          HasSubstr("cpu: 2001m is more than some nodes have for functions: the least is 2 on node "
                                    "'b'")));
}

TEST(Capacity, ALimitThatNoWorkerCouldReachIsRefused) {
  const std::vector nodes{node("a", 1024 * kMebibyte, 2000), node("b", 2048 * kMebibyte, 4000)};
  auto spec = function(64 * kMebibyte, 100);
  spec.limits.cpu_millicores = 4001;
  const auto cpu = check_capacity(spec, nodes);
  ASSERT_FALSE(cpu);
  EXPECT_EQ(cpu.error().message,
            "limits.cpu: 4001m is more than any node has for functions: the most is 4 on node 'b'; lower it, or raise "
            "the option cpu of that node");
  spec.limits.cpu_millicores = 4000;
  spec.limits.scratch_bytes = 2048 * kMebibyte;
  EXPECT_THAT(
      warnings(spec, nodes),
      ElementsAre("limits.cpu: 4 is more than some nodes have for functions: the least is 2 on node 'a'; there "
                  "a run gets no more than that",
                  HasSubstr("limits.scratch: 2Gi is more than some nodes have for functions: the least is 1Gi")));
  ++spec.limits.scratch_bytes;
  const auto scratch = check_capacity(spec, nodes);
  ASSERT_FALSE(scratch);
  EXPECT_TRUE(scratch.error().message.ends_with("lower it, or raise the option memory of that node"));
}

TEST(Capacity, ADefaultIsNoReasonToRefuse) {
  const std::vector nodes{node("tiny", 128 * kMebibyte, 100)};
  EXPECT_THAT(warnings(FunctionSpec{}, nodes),
              ElementsAre(HasSubstr("memory: 256Mi (default) is more"), HasSubstr("cpu: 200m (default) is more")));
}

TEST(Capacity, GatewaysAndTheDeadAreNotAsked) {
  auto gateway = node("gateway", 4096 * kMebibyte, 8000);
  gateway.roles = "gateway,producer";
  auto dead = node("dead", 4096 * kMebibyte, 8000);
  dead.alive = false;
  const auto spec = function(2048 * kMebibyte, 4000);
  EXPECT_FALSE(check_capacity(spec, {gateway, dead, node("worker", 1024 * kMebibyte, 2000)}));
  gateway.memory_bytes = kMebibyte;
  EXPECT_THAT(warnings(spec, {gateway, node("worker", 2048 * kMebibyte, 4000)}), IsEmpty());
}

TEST(Capacity, WithoutAnyWorkerWhatTheAuthorWroteIsNotChecked) {
  EXPECT_THAT(warnings(function(2048 * kMebibyte, 4000), {}),
              ElementsAre("memory: 2Gi is not checked: no node that runs functions is there",
                          "cpu: 4 is not checked: no node that runs functions is there"));
  EXPECT_THAT(warnings(FunctionSpec{}, {}), IsEmpty());
}

}  // namespace
}  // namespace millrace
