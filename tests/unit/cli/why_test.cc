#include "cli/why.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace millrace::cli {
namespace {

Json link(std::string function, std::string id, Json children) {
  return Json::object({{"function", std::move(function)},
                       {"run_id", std::move(id)},
                       {"outcome", "succeeded"},
                       {"reason", ""},
                       {"failures", 0},
                       {"losses", 0},
                       {"children", std::move(children)}});
}

TEST(ChainText, ShowsChildrenBelowTheirParent) {
  const Json chain = Json::array({link("one", "r1",
                                       Json::array({link("two", "r2", Json::array({link("four", "r4", Json::array())})),
                                                    link("three", "r3", Json())}))});
  EXPECT_EQ(chain_text(chain, false),
            "one succeeded r1\n"
            "├─ two succeeded r2\n"
            "│  └─ four succeeded r4\n"
            "└─ three succeeded r3\n");
}

TEST(ChainText, TellsInputOutputsAndHowItWent) {
  Json run = link("cut", "r1", Json::array());
  run.set("outcome", "dead_lettered");
  run.set("reason", "exit code 1");
  run.set("failures", 2);
  run.set("losses", 1);
  run.set("input", "videos/a.avi");
  run.set("outputs", Json::array({"f/1", "f/2", "f/3", "f/4", "f/5"}));
  EXPECT_EQ(chain_text(Json::array({run}), false),
            "cut dead_lettered r1  videos/a.avi -> f/1, f/2, f/3 and 2 more  [2 failures, 1 lost]  (exit code 1)\n");
  EXPECT_NE(chain_text(Json::array({run}), true).find("\033[31mdead_lettered\033[0m"), std::string::npos);
}

TEST(ChainText, TellsWhereOutputsAreNotInPlace) {
  Json run = link("cut", "r1", Json::array());
  run.set("state", "placing");
  EXPECT_EQ(chain_text(Json::array({run}), false),
            "cut succeeded r1  (outputs are not all in place: see millrace redrive cut --list)\n");
}

TEST(ChainText, TellsHowEachAttemptEnded) {
  Json run = link("cut", "r1", Json::array());
  run.set("failures", 1);
  run.set("attempts", Json::array({Json::object({{"attempt", 1},
                                                 {"outcome", "failed"},
                                                 {"message", "exit code 3"},
                                                 {"node", "n"},
                                                 {"started_at", "2026-01-02T03:04:05Z"}})}));
  EXPECT_EQ(chain_text(Json::array({run}), false),
            "cut succeeded r1  [1 failure, 0 lost]\n"
            "   attempt 1 failed: exit code 3  (n, 2026-01-02T03:04:05Z)\n");
}

TEST(LiveText, TellsWhatGoesOnAndWhatWaitsForWhat) {
  const Json doing = Json::object({{"attempt", 2},
                                   {"node", "n"},
                                   {"since", "2026-01-02T03:04:05Z"},
                                   {"ends_by", "2026-01-02T03:09:05Z"},
                                   {"limits", Json::object({{"memory_bytes", 268435456}, {"cpu_millicores", 200}})}});
  const Json live = Json::array(
      {Json::object({{"function", "f"}, {"run_id", "r1"}, {"state", "running"}, {"key", "a"}, {"doing", doing}}),
       Json::object({{"function", "g"},
                     {"run_id", "r2"},
                     {"state", "queued"},
                     {"key", ""},
                     {"waits_for", Json::array({"its delay: 9s", "its turn"})}})});
  EXPECT_EQ(live_text(live, false),
            "f running r1  a\n"
            "   attempt 2 on n since 2026-01-02T03:04:05Z, at most until 2026-01-02T03:09:05Z; memory 256Mi, cpu 200m\n"
            "g queued r2\n"
            "   waits for its delay: 9s\n"
            "   waits for its turn\n");
}

TEST(ChainText, NamesCannotSteerTheTerminal) {
  Json run = link("f", "r", Json::array());
  run.set("input", "b/\033[2J\n");
  EXPECT_EQ(chain_text(Json::array({run}), false), "f succeeded r  b/?[2J?\n");
}

TEST(ChainText, DepthIsBounded) {
  Json chain = link("f", "deepest", Json::array());
  for (int i = 0; i < 100; ++i) chain = link("f", "r", Json::array({std::move(chain)}));
  const std::string text = chain_text(Json::array({chain}), false);
  EXPECT_EQ(text.find("deepest"), std::string::npos);
}

TEST(ChainText, OfNothingIsNothing) {
  EXPECT_EQ(chain_text(Json(), false), "");
}

}  // namespace
}  // namespace millrace::cli
