// Topics that are watched and removed over HTTP.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/gateway/gateway_rig.h"

namespace millrace {
namespace {

using testing::HasSubstr;

class TopicsTest : public GatewayRig {
 protected:
  void make(const std::string& topic) { ASSERT_EQ(ask("PUT", "/api/v1/topics/" + topic).status, 201); }
  test::Answer publish(const std::string& topic, const std::string& id, const std::string& data) {
    return raw("POST /api/v1/topics/" + topic + "/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " +
                   std::string(kToken) + "\r\nIdempotency-Key: " + id + "\r\nContent-Type: text/plain\r\n" +
                   "Content-Length: " + std::to_string(data.size()) + "\r\n\r\n" + data,
               "POST");
  }
};

TEST_F(TopicsTest, EventsAreShownAsTheyArePublishedAndThenTheEndOfTheTopic) {
  make("orders");
  Stream stream(server_->port(), "/api/v1/topics/orders/events");
  ASSERT_TRUE(stream.until(": here you are"));
  ASSERT_EQ(publish("orders", "17", "three apples").status, 202);
  ASSERT_TRUE(stream.until("\"data\":\"three apples\""));
  EXPECT_THAT(stream.seen(), HasSubstr("event: event\ndata: {\"id\":\"17\",\"source\":\"/api/v1/topics/orders\""));
  EXPECT_THAT(stream.seen(), HasSubstr("\"bytes\":12"));
  EXPECT_THAT(stream.seen(), Not(HasSubstr(kToken)));
  ASSERT_EQ(ask("DELETE", "/api/v1/topics/orders").status, 200);
  EXPECT_TRUE(stream.until("event: removed"));
}

TEST_F(TopicsTest, ASlowClientIsToldHowMuchItMissed) {
  make("orders");
  Stream stream(server_->port(), "/api/v1/topics/orders/events");
  ASSERT_TRUE(stream.until(": here you are"));
  on_domain([this] {
    TopicWatcher& watcher = *parts_.broker.watchers.find("orders")->second;
    Event event;
    for (int i = 0; i < 100; ++i) {
      event.source_id = std::to_string(i);
      watcher.seen(event, {}, {});
    }
    watcher.missed(0);
  });
  EXPECT_TRUE(stream.until("event: skipped\ndata: {\"count\":90}")) << stream.seen();
  EXPECT_TRUE(stream.until("event: skipped\ndata: {\"count\":null}")) << stream.seen();
  EXPECT_TRUE(stream.until("\"id\":\"99\""));
}

TEST_F(TopicsTest, WatchersAreBoundedAndTheTopicMustBeThere) {
  make("orders");
  const std::string target = "/api/v1/topics/orders/events";
  EXPECT_EQ(code_of(ask("GET", "/api/v1/topics/nothing/events")), "not_found");
  EXPECT_EQ(ask("HEAD", target).status, 200);
  Stream one(server_->port(), target);
  Stream two(server_->port(), target);
  Stream three(server_->port(), target);
  for (auto* stream : {&one, &two, &three}) ASSERT_TRUE(stream->until(": here you are"));
  EXPECT_EQ(ask("GET", target).status, 429);
}

TEST_F(TopicsTest, ARemovedTopicTakesItsRunsFromTheList) {
  make("orders");
  on_domain([this] {
    for (const auto* const topic : {"orders", "returns"}) {
      parts_.runs.queued({.run_id = RunId(std::string("on-") + topic),
                          .event_id = EventId("e"),
                          .function = "f",
                          .topic = topic,
                          .key = ""});
    }
  });
  const auto removed = ask("DELETE", "/api/v1/topics/orders");
  EXPECT_EQ(removed.status, 200);
  EXPECT_EQ(removed.body, "{\"topic\":\"orders\",\"removed\":true,\"waiting\":0,\"in_flight\":0,\"dead\":0}\n");
  const std::string runs = ask("GET", "/api/v1/runs").body;
  EXPECT_THAT(runs, HasSubstr("on-returns"));
  EXPECT_THAT(runs, Not(HasSubstr("on-orders")));
  EXPECT_EQ(code_of(ask("DELETE", "/api/v1/topics/orders")), "not_found");
}

TEST_F(TopicsTest, OneThatFunctionsNeedIsRefusedByName) {
  const std::string fdl = "functions: {millrace: [{name: f, script: \"true\\n\", topics: [orders]}]}";
  ASSERT_EQ(ask("POST", "/api/v1/functions", fdl).status, 200);
  for (const auto* const topic : {"orders", "fn.f"}) {
    const auto refused = ask("DELETE", "/api/v1/topics/" + std::string(topic));
    EXPECT_EQ(refused.status, 409);
    EXPECT_THAT(refused.body, HasSubstr("'f'"));
  }
  ASSERT_EQ(ask("DELETE", "/api/v1/functions/f").status, 204);
  for (const auto* const topic : {"orders", "fn.f"}) {
    EXPECT_EQ(ask("DELETE", "/api/v1/topics/" + std::string(topic)).status, 200);
  }
}

TEST_F(TopicsTest, OfManyRunsThatWaitOnePageIsListedAndThatThereAreMore) {
  on_domain([this] {
    for (int i = 0; i < 2'000; ++i) {
      parts_.runs.queued({.run_id = RunId("r" + std::to_string(i)),
                          .event_id = EventId("e"),
                          .function = "f",
                          .topic = "fn.f",
                          .key = ""});
    }
  });
  const auto count_of = [](const std::string& body) {
    std::size_t count = 0;
    for (auto at = body.find("\"run_id\""); at != std::string::npos; at = body.find("\"run_id\"", at + 1)) ++count;
    return count;
  };
  for (const std::size_t limit : {1U, 100U, 1'000U}) {
    const std::string body = ask("GET", "/api/v1/runs?limit=" + std::to_string(limit)).body;
    EXPECT_EQ(count_of(body), limit);
    EXPECT_THAT(body, HasSubstr("\"more_live\":true"));
  }
  EXPECT_EQ(count_of(ask("GET", "/api/v1/runs").body), 100U);
}

}  // namespace
}  // namespace millrace
