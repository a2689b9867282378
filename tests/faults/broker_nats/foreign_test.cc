// Streams and consumers of somebody else under our names or subjects: refused by name, and left as they are.
#include <utility>
#include <vector>

#include "broker/nats/link.h"
#include "formats/json.h"
#include "tests/faults/broker_nats/nats_rig.h"

namespace millrace::test {
namespace {

Task<Result<Json>> call(nats::Link& link, std::string operation, Json request) {
  auto answer =
      co_await link.request({.subject = "$JS.API." + operation, .data = request.dump()}, std::chrono::seconds(5));
  if (!answer) co_return fail(answer.error());
  auto parsed = parse_json(answer->data(), 1 << 20);
  if (parsed && parsed->find("error") != nullptr) co_return fail(Errc::internal, parsed->dump());
  co_return parsed;
}

struct NatsForeign : testing::Test {
  NatsServer server;
  NatsRig rig;
  std::unique_ptr<nats::Link> link = connect();

  ~NatsForeign() override { rig.await(link->close()); }

  std::unique_ptr<nats::Link> connect() {
    auto opened = rig.await(nats::Link::open(rig.loop, NatsRig::options(server.url()), rig.log));
    if (!opened) std::abort();
    return std::move(*opened);
  }
  // By the hand of an operator.
  Json by_hand(const std::string& operation, Json request = Json::object()) {
    auto answer = rig.await(call(*link, operation, std::move(request)));
    EXPECT_EQ(outcome(answer), "ok") << operation << ": " << (answer ? "" : answer.error().message);
    return answer ? std::move(*answer) : Json::object();
  }
  Json config_of(const std::string& stream) { return *by_hand("STREAM.INFO." + stream).find("config"); }
  std::uint64_t messages_in(const std::string& stream) {
    return by_hand("STREAM.INFO." + stream).find("state")->uint_or("messages", 0);
  }
  void make_theirs(const std::string& stream, const std::string& subject) {
    by_hand("STREAM.CREATE." + stream, Json::object({{"name", stream},
                                                     {"subjects", Json::array({subject})},
                                                     {"retention", "limits"},
                                                     {"storage", "file"},
                                                     {"max_age", std::int64_t{3'600'000'000'000}}}));
  }
  void expect_refusal(const Result<void>& refused, const std::vector<std::string>& parts) {
    ASSERT_EQ(outcome(refused), "failed_precondition");
    for (const auto& part : parts) {
      EXPECT_NE(refused.error().message.find(part), std::string::npos) << part << ": " << refused.error().message;
    }
  }
};

template <class T>
Result<void> only_error(const Result<T>& result) {
  if (!result) return fail(result.error());
  return {};
}

TEST_F(NatsForeign, AStreamUnderATopicsNameIsRefusedAndKeepsWhatItHas) {
  const auto broker = rig.open(NatsRig::options(server.url()));
  make_theirs("millrace-t-theirs", "theirs.>");
  for (int i = 0; i < 5; ++i) {
    ASSERT_EQ(outcome(rig.await(link->request({.subject = "theirs.a", .data = "x"}, seconds(5)))), "ok");
  }
  const Json before = config_of("millrace-t-theirs");
  expect_refusal(rig.await(broker->ensure({.name = "theirs", .groups = {"g"}})),
                 {server.url(), "'millrace-t-theirs'", "subjects is [\"theirs.>\"], expected [\"millrace.t.theirs\"",
                  "nats_prefix"});
  expect_refusal(only_error(rig.await(broker->subscribe({.topic = "theirs", .group = "g"}))), {"'millrace-t-theirs'"});
  expect_refusal(rig.await(broker->remove_topic("theirs")), {server.url(), "'millrace-t-theirs'"});
  EXPECT_EQ(config_of("millrace-t-theirs").dump(), before.dump());
  EXPECT_EQ(messages_in("millrace-t-theirs"), 5U);
}

TEST_F(NatsForeign, AStreamThatCameInTheTopicsPlaceWhileWeRunKeepsWhatItHas) {
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  by_hand("STREAM.DELETE.millrace-t-t");
  make_theirs("millrace-t-t", "theirs.>");
  ASSERT_EQ(outcome(rig.await(link->request({.subject = "theirs.a", .data = "x"}, seconds(5)))), "ok");
  const Json before = config_of("millrace-t-t");
  auto urgent = NatsRig::message("a", "x");
  urgent.priority = Priority::high;
  expect_refusal(only_error(rig.publish(*broker, urgent)), {server.url(), "'millrace-t-t'"});
  expect_refusal(rig.await(broker->remove_topic("t")), {server.url(), "'millrace-t-t'"});
  EXPECT_EQ(config_of("millrace-t-t").dump(), before.dump());
  EXPECT_EQ(messages_in("millrace-t-t"), 1U);
}

TEST_F(NatsForeign, AStreamInPlaceOfTheDeadLettersEndsTheStartAndKeepsWhatItHas) {
  make_theirs("millrace-dead", "theirs.>");
  ASSERT_EQ(outcome(rig.await(link->request({.subject = "theirs.a", .data = "x"}, seconds(5)))), "ok");
  const Json before = config_of("millrace-dead");
  expect_refusal(only_error(rig.try_open(NatsRig::options(server.url()))),
                 {server.url(), "'millrace-dead'", "subjects is", "nats_prefix"});
  EXPECT_EQ(config_of("millrace-dead").dump(), before.dump());
  EXPECT_EQ(messages_in("millrace-dead"), 1U);
}

TEST_F(NatsForeign, WhateverSaysWhatAStreamIsMustBeOurs) {
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  const Json ours = config_of("millrace-t-t");
  const std::vector<std::pair<std::string, Json>> settings{
      {"retention", "limits"},
      {"storage", "memory"},
      {"discard", "old"},
      {"max_age", std::int64_t{3'600'000'000'000}},
      {"max_consumers", 7},
      {"max_msgs_per_subject", 3},
      {"no_ack", true},
      {"deny_purge", true},
      {"consumer_limits", Json::object({{"inactive_threshold", std::int64_t{60'000'000'000}}})},
      {"sources", Json::array({Json::object({{"name", "elsewhere"}})})}};
  for (const auto& [key, value] : settings) {
    by_hand("STREAM.DELETE.millrace-t-t");
    Json theirs = ours;
    theirs.set(key, value);
    by_hand("STREAM.CREATE.millrace-t-t", theirs);
    const Json before = config_of("millrace-t-t");
    const auto other = rig.open(NatsRig::options(server.url()));
    expect_refusal(rig.await(other->ensure({.name = "t", .groups = {"g"}})), {"'millrace-t-t'", key + " is "});
    EXPECT_EQ(config_of("millrace-t-t").dump(), before.dump()) << key;
  }
}

TEST_F(NatsForeign, StreamsOfEarlierVersionsAndChangedBoundsAreOurs) {
  const auto with = [](const std::string& name, Json subjects, const std::string& retention) {
    return Json::object({{"name", name},
                         {"subjects", std::move(subjects)},
                         {"retention", retention},
                         {"storage", "file"},
                         {"discard", "new"},
                         {"num_replicas", 1},
                         {"max_msgs", 1000},
                         {"max_age", 0},
                         {"description", "an operator's own words"}});
  };
  by_hand("STREAM.CREATE.millrace-dead", with("millrace-dead", Json::array({"millrace.d.*.*"}), "limits"));
  Json begun = with("millrace-begun", Json::array({"millrace.b.*.*.*"}), "limits");
  begun.set("max_msgs_per_subject", 1);
  by_hand("STREAM.CREATE.millrace-begun", begun);
  by_hand("STREAM.CREATE.millrace-t-t",
          with("millrace-t-t", Json::array({"millrace.t.t", "millrace.r.t.*"}), "interest"));
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  auto message = NatsRig::message("a", "x", "key");
  message.priority = Priority::high;
  ASSERT_EQ(outcome(rig.publish(*broker, message)), "ok");
  const auto subscription = rig.subscribe(*broker);
  const auto delivery = rig.next(*subscription);
  ASSERT_EQ(outcome(rig.await(delivery->begin())), "ok");
  EXPECT_EQ(outcome(rig.await(delivery->ack())), "ok");
  for (const char* stream : {"millrace-dead", "millrace-begun", "millrace-t-t"}) {
    const Json config = config_of(stream);
    EXPECT_NE(config.int_or("max_msgs", 0), 1000) << stream;
    EXPECT_EQ(config.string_or("description", ""), "an operator's own words") << stream;
  }
  const auto other = rig.open(NatsRig::options(server.url()));
  EXPECT_EQ(outcome(rig.await(other->ensure({.name = "t", .groups = {"g"}, .messages_max = 5}))), "ok");
  EXPECT_EQ(config_of("millrace-t-t").int_or("max_msgs", 0), 5);
}

TEST_F(NatsForeign, AStreamThatHasOurSubjectConfirmsNothing) {
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  by_hand("STREAM.DELETE.millrace-t-t");
  make_theirs("theirs", "millrace.t.t");
  expect_refusal(only_error(rig.publish(*broker, NatsRig::message("a", "x"))),
                 {server.url(), "'t'", "millrace.t.t", "nats_prefix"});
  EXPECT_EQ(messages_in("theirs"), 0U);
  by_hand("STREAM.DELETE.theirs");
  rig.make_topic(*broker);
  EXPECT_EQ(outcome(rig.publish(*broker, NatsRig::message("a", "x"))), "ok");
}

TEST_F(NatsForeign, AConsumerInAGroupsPlaceIsRefusedAlsoWhereTheGroupIsKnown) {
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  const Json ours = *by_hand("CONSUMER.INFO.millrace-t-t.g").find("config");
  const std::int64_t minute = 60'000'000'000;
  const std::vector<std::pair<std::string, Json>> settings{
      {"ack_policy", "all"},     {"max_deliver", 5},
      {"max_ack_pending", 10},   {"replay_policy", "original"},
      {"deliver_policy", "new"}, {"filter_subjects", Json::array({"millrace.t.t"})},
      {"headers_only", true},    {"inactive_threshold", minute},
      {"mem_storage", true},     {"max_batch", 1},
      {"paused", true}};
  for (const auto& [key, value] : settings) {
    by_hand("CONSUMER.DELETE.millrace-t-t.g");
    Json theirs = ours;
    if (key == "paused") {
      theirs.set("pause_until", "2999-01-01T00:00:00Z");
    } else {
      theirs.set(key, value);
    }
    const Json made = by_hand("CONSUMER.CREATE.millrace-t-t.g",
                              Json::object({{"stream_name", "millrace-t-t"}, {"config", std::move(theirs)}}));
    const auto other = rig.open(NatsRig::options(server.url()));
    for (Broker* each : {broker.get(), other.get()}) {
      expect_refusal(only_error(rig.await(each->subscribe({.topic = "t", .group = "g"}))),
                     {server.url(), "'g'", "'t'", "'millrace-t-t'", key + " is ", "nats_prefix"});
    }
    EXPECT_EQ(by_hand("CONSUMER.INFO.millrace-t-t.g").find("config")->dump(), made.find("config")->dump()) << key;
  }
  EXPECT_EQ(outcome(rig.publish(*broker, NatsRig::message("a", "x"))), "ok") << "the others go on";
}

}  // namespace
}  // namespace millrace::test
