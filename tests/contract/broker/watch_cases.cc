// Those who only watch a topic.
#include <memory>
#include <string>
#include <vector>

#include "tests/contract/broker/broker_contract.h"

namespace millrace::contract {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Texts = std::vector<std::string>;

struct Watcher final : TopicWatcher {
  Texts shown;
  std::uint64_t left_out = 0;
  bool removed = false;

  void seen(const Event& event, std::string_view, std::chrono::system_clock::time_point) override {
    shown.push_back(event.data);
  }
  void missed(std::uint64_t count) override { left_out += count; }
  void topic_removed() override { removed = true; }
};

TEST_P(BrokerContract, AWatcherIsShownWhatIsPublishedFromNowOnAndNobodyHasLess) {
  make_topic({.name = "t", .groups = {"g", "other"}});
  make_topic("u");
  publish("before", "before");
  Watcher watcher;
  auto watch = await(broker().watch("t", watcher));
  ASSERT_EQ(outcome(watch), "ok");
  publish("a", "a");
  publish("b", "b", {}, "u");
  publish("later", "later", seconds(1));
  EXPECT_TRUE(publish_all({make_message("a", "a")})[0]->duplicate) << "and is shown once";
  EXPECT_TRUE(wait_for([&] { return watcher.shown.size() >= 2; }));
  EXPECT_EQ(watcher.shown, (Texts{"a", "later"}));
  EXPECT_EQ(watcher.left_out, 0U);
  EXPECT_EQ(lag("t", "g").open(), 3U);
  EXPECT_EQ(lag("t", "other").open(), 3U);
  auto info = await(broker().describe("t"));
  ASSERT_EQ(outcome(info), "ok");
  EXPECT_EQ(info->spec.groups.size(), 2U) << "no group is there for it";
  EXPECT_EQ(info->messages, 3U);
  watch->reset();
  publish("unseen", "unseen");
  advance(milliseconds(0));
  EXPECT_EQ(watcher.shown.size(), 2U);
}

TEST_P(BrokerContract, AWatcherSeesKeysAndPrioritiesAndHoldsNothingBack) {
  MILLRACE_NEEDS(ordered_keys);
  MILLRACE_NEEDS(priorities);
  make_topic();
  Watcher watcher;
  auto watch = await(broker().watch("t", watcher));
  ASSERT_EQ(outcome(watch), "ok");
  auto keyed = make_message("keyed", "keyed");
  keyed.key = "k";
  ASSERT_EQ(outcome(publish_all({keyed})[0]), "ok");
  auto high = make_message("high", "high");
  high.priority = Priority::high;
  ASSERT_EQ(outcome(publish_all({high})[0]), "ok");
  EXPECT_TRUE(wait_for([&] { return watcher.shown.size() >= 2; }));
  EXPECT_EQ(watcher.shown, (Texts{"keyed", "high"}));
  const auto subscription = subscribe();
  EXPECT_EQ(drain(*subscription).size(), 2U);
  EXPECT_TRUE(wait_for([this] {
    const auto info = await(broker().describe("t"));
    return info && info->messages == 0;
  })) << "what the readers have settled is kept for no watcher";
}

TEST_P(BrokerContract, AWatcherHearsThatItsTopicIsRemovedAndSeesNothingOfTheNext) {
  make_topic();
  Watcher watcher;
  auto watch = await(broker().watch("t", watcher));
  ASSERT_EQ(outcome(watch), "ok");
  ASSERT_EQ(outcome(await(broker().remove_topic("t"))), "ok");
  EXPECT_TRUE(wait_for([&] { return watcher.removed; }));
  make_topic();
  publish("a", "a");
  advance(milliseconds(0));
  EXPECT_TRUE(watcher.shown.empty());
}

TEST_P(BrokerContract, ATopicThatIsNotThereCannotBeWatched) {
  Watcher watcher;
  EXPECT_EQ(outcome(await(broker().watch("t", watcher))), "not_found");
}

TEST_P(BrokerContract, AWatchMayEndAfterItsBroker) {
  make_topic();
  Watcher watcher;
  auto watch = await(broker().watch("t", watcher));
  ASSERT_EQ(outcome(watch), "ok");
  restart();
  watch->reset();
}

}  // namespace
}  // namespace millrace::contract
