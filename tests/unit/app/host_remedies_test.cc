#include "app/host_remedies.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

Control missing(std::string name) {
  return {.name = std::move(name), .state = ControlState::missing, .detail = ""};
}

TEST(HostRemedies, WhatHoldsNeedsNone) {
  const Control memory{.name = "memory", .state = ControlState::real, .detail = ""};
  EXPECT_EQ(remedy_of(memory, {.root = false, .groups_v2 = true}), "");
  EXPECT_TRUE(remedies_of({memory}, {}).empty());
}

TEST(HostRemedies, AnOrdinaryUserHasLimitsByAUnitOfTheirsWithVersion2AndByRootOtherwise) {
  EXPECT_NE(remedy_of(missing("memory"), {.root = false, .groups_v2 = true}).find("Delegate=yes"), std::string::npos);
  EXPECT_EQ(remedy_of(missing("memory"), {.root = false, .groups_v2 = false}), "sudo millrace serve");
  EXPECT_EQ(remedy_of(missing("isolation"), {.root = false, .groups_v2 = true}), "sudo millrace serve");
}

TEST(HostRemedies, RootIsNotToldToBecomeRoot) {
  for (const char* name : {"memory", "pids", "isolation", "seccomp", "network_private", "oci_runtimes"}) {
    EXPECT_EQ(remedy_of(missing(name), {.root = true, .groups_v2 = true}).find("sudo"), std::string::npos) << name;
  }
  EXPECT_NE(remedy_of(missing("network_private"), {.root = true, .groups_v2 = false}).find("slirp4netns"),
            std::string::npos);
}

TEST(HostRemedies, AreListedOnceWithAllThatTheyEnable) {
  const auto remedies = remedies_of({missing("memory"), missing("isolation"), missing("pids"), missing("attributes")},
                                    {.root = false, .groups_v2 = true});
  ASSERT_EQ(remedies.size(), 2U);
  EXPECT_EQ(remedies[0].controls, "memory, pids");
  EXPECT_EQ(remedies[1].controls, "isolation");
}

}  // namespace
}  // namespace millrace
