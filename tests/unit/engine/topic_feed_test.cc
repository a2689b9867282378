#include "engine/topic_feed.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/engine_rig.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

using Texts = std::vector<std::string>;

class TopicFeedTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  TopicFeedTest() {
    for (const auto* const topic : {"orders", "other"}) {
      EXPECT_TRUE(rig_.wait(broker_.ensure({.name = topic, .groups = {}})));
    }
  }

  std::shared_ptr<TopicFeed::Reader> open(const std::string& topic = "orders") {
    return rig_.wait(feed_.open(topic)).value();
  }
  TopicFeed::Batch next(const std::shared_ptr<TopicFeed::Reader>& reader) {
    return rig_.wait(feed_.next(reader, 15s, {})).value();
  }
  static Outgoing message(const std::string& id, std::string data) {
    Outgoing message{.id = id, .event = {}};
    message.event.source_id = id;
    message.event.source = "/shop";
    message.event.type = "order";
    message.event.data = std::move(data);
    return message;
  }
  void publish(Outgoing event, const std::string& topic = "orders") {
    std::vector<Outgoing> batch;
    batch.push_back(std::move(event));
    ASSERT_TRUE(rig_.wait(broker_.publish(topic, std::move(batch)))[0]);
  }
  std::string readers() const {
    const std::string name = "\nmillrace_topic_feed_readers ";
    const std::string text = rig_.parts.metrics.render();
    const auto begin = text.find(name) + name.size();
    return text.substr(begin, text.find('\n', begin) - begin);
  }
  static Texts ids(const TopicFeed::Batch& batch) {
    Texts told;
    for (const auto& news : batch.news) told.push_back(news.id);
    return told;
  }

  EngineRig rig_{GetParam()};
  FakeBroker& broker_ = rig_.parts.broker;
  TopicFeed feed_{rig_.loop, broker_, {.readers_max = 2, .news_max = 3, .news_bytes_max = 10'000}, rig_.parts.metrics};
};
INSTANTIATE_TEST_SUITE_P(Seeds, TopicFeedTest, testing::Range<std::uint64_t>(1, 4));

TEST_P(TopicFeedTest, ShowsWhatIsPublishedOnItsTopicFromNowOn) {
  publish(message("before", "x"));
  const auto reader = open();
  auto keyed = message("a", "three apples");
  keyed.key = "north";
  publish(keyed);
  publish(message("b", "x"), "other");
  auto partitioned = message("c", "x");
  partitioned.event.extensions.emplace_back("partitionkey", "south");
  publish(partitioned);
  const auto batch = next(reader);
  ASSERT_EQ(ids(batch), (Texts{"a", "c"}));
  EXPECT_EQ(batch.news[0].source, "/shop");
  EXPECT_EQ(batch.news[0].type, "order");
  EXPECT_EQ(batch.news[0].data, "three apples");
  EXPECT_EQ(batch.news[0].data_bytes, 12U);
  EXPECT_EQ(batch.news[0].key, "north");
  EXPECT_EQ(batch.news[1].key, "south");
  EXPECT_EQ(batch.skipped, 0U);
  EXPECT_TRUE(next(reader).news.empty()) << "after a silent time";
}

TEST_P(TopicFeedTest, OfLargeDataTheBeginningIsShownUpToAWholeCharacter) {
  const auto reader = open();
  std::string data(TopicFeed::kShownBytesMax - 1, 'x');
  data += "\u20ac and more";
  publish(message("a", data));
  const auto batch = next(reader);
  ASSERT_EQ(batch.news.size(), 1U);
  EXPECT_EQ(batch.news[0].data, std::string(TopicFeed::kShownBytesMax - 1, 'x'));
  EXPECT_EQ(batch.news[0].data_bytes, data.size());
}

TEST_P(TopicFeedTest, ASlowReaderMissesTheOldestAndIsToldHowMany) {
  const auto slow = open();
  for (const auto* const id : {"a", "b", "c", "d", "e"}) publish(message(id, "x"));
  const auto batch = next(slow);
  EXPECT_EQ(ids(batch), (Texts{"c", "d", "e"}));
  EXPECT_EQ(batch.skipped, 2U);
  publish(message("f", "x"));
  EXPECT_EQ(next(slow).skipped, 0U) << "told once";
}

TEST_P(TopicFeedTest, WhatIsNotTakenIsBoundedByItsBytes) {
  const auto slow = open();
  for (const auto* const id : {"a", "b"}) {
    auto large = message(id, "x");
    large.event.source = std::string(6'000, 's');
    publish(large);
  }
  const auto batch = next(slow);
  EXPECT_EQ(ids(batch), Texts{"b"});
  EXPECT_EQ(batch.skipped, 1U);
}

TEST_P(TopicFeedTest, WhatTheBrokerCouldNotShowIsTold) {
  const auto reader = open();
  TopicWatcher& watcher = *broker_.watchers.find("orders")->second;
  watcher.missed(7);
  EXPECT_EQ(next(reader).skipped, 7U);
  watcher.missed(0);
  const auto batch = next(reader);
  EXPECT_EQ(batch.skipped, 0U);
  EXPECT_TRUE(batch.interrupted);
}

TEST_P(TopicFeedTest, AReaderHearsThatItsTopicIsRemoved) {
  const auto reader = open();
  std::optional<Result<TopicFeed::Batch>> batch;
  rig_.group.spawn(keep_value(feed_.next(reader, 15s, {}), batch));
  rig_.loop.run_for(1s);
  EXPECT_FALSE(batch);
  EXPECT_TRUE(rig_.wait(broker_.remove_topic("orders")));
  rig_.loop.run_for(1s);
  ASSERT_TRUE(batch && *batch);
  EXPECT_TRUE((*batch)->topic_removed);
}

TEST_P(TopicFeedTest, ReadersAreBoundedAndLeaveNothingBehind) {
  auto one = open();
  const auto two = open("other");
  EXPECT_EQ(rig_.wait(feed_.open("orders")).error().code, Errc::resource_exhausted);
  EXPECT_EQ(broker_.watchers.size(), 2U);
  EXPECT_EQ(readers(), "2");
  one.reset();
  rig_.loop.run_for(1s);
  EXPECT_EQ(broker_.watchers.size(), 1U);
  EXPECT_EQ(readers(), "1");
  EXPECT_EQ(rig_.wait(feed_.open("nothing")).error().code, Errc::not_found);
  rig_.loop.run_for(1s);
  EXPECT_EQ(readers(), "1") << "one that could not be opened is none";
  const auto again = open();
  publish(message("a", "x"));
  EXPECT_EQ(ids(next(again)), Texts{"a"});
}

TEST_P(TopicFeedTest, AStoppedReaderIsCancelled) {
  const auto reader = open();
  std::stop_source stop;
  std::optional<Result<TopicFeed::Batch>> batch;
  rig_.group.spawn(keep_value(feed_.next(reader, 15s, stop.get_token()), batch));
  rig_.loop.run_for(1s);
  stop.request_stop();
  rig_.loop.run_for(1s);
  ASSERT_TRUE(batch);
  EXPECT_EQ(batch->error().code, Errc::cancelled);
}

}  // namespace
}  // namespace millrace
