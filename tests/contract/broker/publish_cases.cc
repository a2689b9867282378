#include <algorithm>
#include <set>

#include "tests/contract/broker/broker_contract.h"

namespace millrace::contract {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;

TEST_P(BrokerContract, ConfirmedMessageIsReadableByAFreshGroup) {
  make_topic({.name = "t", .groups = {}});
  publish("a", "hello");
  const auto subscription = subscribe("t", "late");
  const auto delivery = next(*subscription);
  EXPECT_EQ(delivery->event().data, "hello");
  EXPECT_EQ(delivery->redrives(), 0U);
}

TEST_P(BrokerContract, GroupThatComesLateSeesWhatIsStillRetained) {
  make_topic();
  publish_numbered(3);
  const auto first = subscribe();
  const auto settled = next(*first);
  ASSERT_EQ(outcome(await(settled->ack())), "ok");

  const auto late = subscribe("t", "late");
  EXPECT_EQ(next(*late)->event().data, "1");
  // A server of others may take a moment to forget what everybody has settled.
  std::uint64_t open = lag("t", "late").open();
  for (int asked = 1; open != 2 && asked < 2'000 && !capabilities().exact_lag; ++asked) open = lag("t", "late").open();
  EXPECT_EQ(open, 2U);
}

TEST_P(BrokerContract, SameIdWithinTheWindowIsDeliveredOnce) {
  make_topic();
  publish("a", "hello");
  std::vector<Outgoing> again;
  again.push_back(make_message("a", "hello"));
  const auto receipts = publish_all(std::move(again));
  ASSERT_EQ(outcome(receipts[0]), "ok");
  EXPECT_TRUE(receipts[0]->duplicate);
  const auto subscription = subscribe();
  EXPECT_EQ(drain(*subscription), std::vector<std::string>{"hello"});
}

TEST_P(BrokerContract, SameIdWithinOneBatchIsDeliveredOnce) {
  make_topic();
  std::vector<Outgoing> batch;
  batch.push_back(make_message("a", "hello"));
  batch.push_back(make_message("a", "hello"));
  const auto receipts = publish_all(std::move(batch));
  ASSERT_TRUE(receipts[0] && receipts[1]);
  EXPECT_FALSE(receipts[0]->duplicate);
  EXPECT_TRUE(receipts[1]->duplicate);
  EXPECT_EQ(lag().open(), 1U);
}

TEST_P(BrokerContract, RepeatStampedAnewIsStillARepeat) {
  make_topic();
  publish("a", "hello");
  Outgoing repeat = make_message("a", "hello");
  repeat.event.time += minutes(5);
  repeat.event.order = Order("01HZZZZZZZZZZZZZZZZZZZZZZA");
  repeat.event.extensions.emplace_back("traceparent", "00-1-2-01");
  std::vector<Outgoing> batch;
  batch.push_back(std::move(repeat));
  const auto receipts = publish_all(std::move(batch));
  ASSERT_EQ(outcome(receipts[0]), "ok");
  EXPECT_TRUE(receipts[0]->duplicate);
}

TEST_P(BrokerContract, SameIdAfterTheWindowIsANewMessage) {
  make_topic({.name = "t", .groups = {"g"}, .dedupe_window = short_window()});
  publish("a", "hello");
  // A server of its own forgets by its own timer, which comes later on a busy machine.
  const int tries_max = moves_server_time() ? 1 : 60;
  bool known = true;
  for (int tries = 0; known && tries < tries_max; ++tries) {
    pass(short_window() + milliseconds(1));
    std::vector<Outgoing> again;
    again.push_back(make_message("a", "hello"));
    const auto receipts = publish_all(std::move(again));
    ASSERT_EQ(outcome(receipts[0]), "ok");
    known = receipts[0]->duplicate;
  }
  EXPECT_FALSE(known);
  EXPECT_EQ(lag().open(), 2U);
}

TEST_P(BrokerContract, SameIdOnAnotherTopicIsAnotherMessage) {
  make_topic("t");
  make_topic("u");
  publish("a", "hello");
  publish("a", "hello", {}, "u");
}

TEST_P(BrokerContract, IdWithOtherContentIsRefused) {
  MILLRACE_NEEDS(detects_id_reuse);
  make_topic();
  publish("a", "hello");
  std::vector<Outgoing> batch;
  batch.push_back(make_message("a", "other"));
  EXPECT_EQ(outcome(publish_all(std::move(batch))[0]), "already_exists");
  EXPECT_EQ(lag().open(), 1U);
}

TEST_P(BrokerContract, PublishThatNobodyWaitedForCanBeRepeated) {
  make_topic();
  {
    std::vector<Outgoing> batch;
    batch.push_back(make_message("a", "hello"));
    auto forgotten = broker().publish("t", std::move(batch));
    forgotten.start();  // sent, and the publisher is gone before the confirmation
  }
  std::vector<Outgoing> batch;
  batch.push_back(make_message("a", "hello"));
  ASSERT_EQ(outcome(publish_all(std::move(batch))[0]), "ok");
  const auto subscription = subscribe();
  EXPECT_EQ(drain(*subscription), std::vector<std::string>{"hello"});
}

TEST_P(BrokerContract, TooLargeIsRefusedAndTheBrokerStaysUsable) {
  make_topic();
  std::vector<Outgoing> batch;
  batch.push_back(make_message("a", std::string(capabilities().message_bytes_max + 1, 'x')));
  batch.push_back(make_message("b", ""));
  batch.back().event.subject = std::string(kEventHeaderBytesMax, 's');
  batch.push_back(make_message("c", "fits"));
  const auto receipts = publish_all(std::move(batch));
  EXPECT_EQ(outcome(receipts[0]), "too_large");
  EXPECT_EQ(outcome(receipts[1]), "too_large");
  EXPECT_EQ(outcome(receipts[2]), "ok");
}

TEST_P(BrokerContract, UnknownTopicIsNotFound) {
  std::vector<Outgoing> batch;
  batch.push_back(make_message("a", "hello"));
  EXPECT_EQ(outcome(publish_all(std::move(batch), "nowhere")[0]), "not_found");
  EXPECT_EQ(outcome(await(broker().subscribe({.topic = "nowhere", .group = "g"}))), "not_found");
  EXPECT_EQ(outcome(await(broker().lag("nowhere", "g"))), "not_found");
  EXPECT_EQ(outcome(await(broker().purge("nowhere", "g"))), "not_found");
  EXPECT_EQ(outcome(await(broker().redrive("nowhere", "g", {}))), "not_found");
  EXPECT_EQ(outcome(await(broker().dead_letters("nowhere", "g", "", 10))), "not_found");
}

TEST_P(BrokerContract, UnknownGroupIsNotFoundWhereItIsNotMade) {
  make_topic();
  EXPECT_EQ(outcome(await(broker().lag("t", "other"))), "not_found");
  EXPECT_EQ(outcome(await(broker().purge("t", "other"))), "not_found");
}

TEST_P(BrokerContract, BatchHasAResultPerItemInItsOrder) {
  make_topic();
  std::vector<Outgoing> batch;
  batch.push_back(make_message("a", "1"));
  batch.push_back(make_message("", "2"));
  batch.push_back(make_message("b", std::string(capabilities().message_bytes_max + 1, 'x')));
  batch.push_back(make_message("a", "1"));
  batch.push_back(make_message(std::string(257, 'i'), "3"));
  batch.push_back(make_message(std::string(256, 'i'), "4"));
  batch.push_back(make_message("c", "5", milliseconds(-1)));
  const auto receipts = publish_all(std::move(batch));
  ASSERT_EQ(receipts.size(), 7U);
  EXPECT_EQ(outcome(receipts[0]), "ok");
  EXPECT_EQ(outcome(receipts[1]), "invalid_argument");
  EXPECT_EQ(outcome(receipts[2]), "too_large");
  EXPECT_TRUE(receipts[3] && receipts[3]->duplicate);
  EXPECT_EQ(outcome(receipts[4]), "invalid_argument");
  EXPECT_EQ(outcome(receipts[5]), "ok");
  EXPECT_EQ(outcome(receipts[6]), "invalid_argument");
  EXPECT_TRUE(publish_all({}).empty());
}

TEST_P(BrokerContract, FullTopicRefusesAndRecovers) {
  make_topic({.name = "t", .groups = {"g"}, .bytes_max = 100'000});
  std::vector<Outgoing> batch;
  for (int i = 0; i < 12; ++i) batch.push_back(make_message(std::to_string(i), std::string(10'000, 'x')));
  const auto receipts = publish_all(std::move(batch));
  EXPECT_EQ(outcome(receipts.front()), "ok");
  EXPECT_EQ(outcome(receipts.back()), "no_space");
  const auto subscription = subscribe();
  EXPECT_GE(drain(*subscription).size(), 8U);
  publish("again", std::string(10'000, 'x'));
}

TEST_P(BrokerContract, AnyBytesComeThroughUnchanged) {
  make_topic();
  std::string all(256, '\0');
  std::ranges::generate(all, [byte = 0]() mutable { return static_cast<char>(byte++); });
  const std::vector<std::string> payloads{"", "x", std::string(1, '\0'), all,
                                          std::string(capabilities().message_bytes_max, '\xff')};
  for (std::size_t i = 0; i < payloads.size(); ++i) publish(std::to_string(i), payloads[i]);
  const auto subscription = subscribe();
  for (const auto& payload : payloads) {
    const auto delivery = next(*subscription);
    EXPECT_TRUE(delivery->event().data == payload) << payload.size();
    EXPECT_EQ(outcome(await(delivery->ack())), "ok");
  }
}

void expect_same(const Event& sent, const Event& got) {
  EXPECT_EQ(sent.id, got.id);
  EXPECT_EQ(sent.source, got.source);
  EXPECT_EQ(sent.source_id, got.source_id);
  EXPECT_EQ(sent.type, got.type);
  EXPECT_EQ(sent.subject, got.subject);
  EXPECT_EQ(sent.time, got.time);
  EXPECT_EQ(sent.content_type, got.content_type);
  EXPECT_EQ(sent.order, got.order);
  EXPECT_EQ(sent.hops, got.hops);
  EXPECT_EQ(sent.generation, got.generation);
  EXPECT_EQ(sent.cause, got.cause);
  EXPECT_EQ(std::set(sent.extensions.begin(), sent.extensions.end()),
            std::set(got.extensions.begin(), got.extensions.end()));
  EXPECT_EQ(sent.data, got.data);
  ASSERT_EQ(sent.object.has_value(), got.object.has_value());
  if (!sent.object) return;
  EXPECT_EQ(sent.object->store, got.object->store);
  EXPECT_EQ(sent.object->bucket, got.object->bucket);
  EXPECT_EQ(sent.object->key, got.object->key);
  EXPECT_EQ(sent.object->version, got.object->version);
  EXPECT_EQ(sent.object->private_path, got.object->private_path);
}

TEST_P(BrokerContract, EveryAttributeSurvivesByteExact) {
  Event event = make_event("d\xc3\xa4ta");
  event.subject = "Fotos/\xc3\x84rger \xf0\x9f\x98\x80/a\tb.jpg";
  event.source = "urn:gr\xc3\xbcn";
  event.hops = 7;
  event.generation = 3;
  event.cause = RunId("fedcba9876543210fedcba9876543210");
  event.object = ObjectRef{.store = "local",
                           .bucket = "b",
                           .key = "k/\xe2\x82\xac",
                           .version = {.size_bytes = 1ULL << 40, .mtime_ns = 1'700'000'000'123'456'789, .inode = 42},
                           .private_path = ".millrace/p"};
  event.extensions = {{"traceparent", "00-ab-cd-01"}, {"comment", "100% \xe2\x9c\x93, \"quoted\""}};
  make_topic();
  std::vector<Outgoing> batch;
  batch.push_back({.id = "a", .event = event, .delay = {}});
  ASSERT_EQ(outcome(publish_all(std::move(batch))[0]), "ok");
  if (survives_restart()) restart();  // so that it comes from where it was stored
  const auto subscription = subscribe();
  const auto delivery = next(*subscription);
  expect_same(event, delivery->event());
}

TEST_P(BrokerContract, EnsureIsIdempotentAndTopicsAreSorted) {
  make_topic("b");
  make_topic("a");
  publish("x", "kept", {}, "b");
  make_topic({.name = "b", .groups = {"g", "h"}, .lease = std::chrono::seconds(5)});
  EXPECT_EQ(lag("b", "g").open(), 1U);
  EXPECT_EQ(lag("b", "h").open(), 1U);
  const auto names = await(broker().topics());
  ASSERT_EQ(outcome(names), "ok");
  EXPECT_EQ(*names, (std::vector<std::string>{"a", "b"}));
}

TEST_P(BrokerContract, WrongSettingsAreRefused) {
  EXPECT_EQ(outcome(await(broker().ensure({.name = "Bad Name", .groups = {}}))), "invalid_argument");
  EXPECT_EQ(outcome(await(broker().ensure({.name = "t", .groups = {""}}))), "invalid_argument");
  EXPECT_EQ(outcome(await(broker().ensure({.name = "t", .groups = {}, .lease = milliseconds(0)}))), "invalid_argument");
  EXPECT_EQ(outcome(await(broker().ensure({.name = "t", .groups = {}, .dedupe_window = milliseconds(-1)}))),
            "invalid_argument");
  const auto names = await(broker().topics());
  EXPECT_TRUE(names && names->empty());
}

TEST_P(BrokerContract, BacklogIsToldInAStepOfItsOwn) {
  make_topic();
  std::vector<std::string> told;
  broker().on_backlog([&](const std::string& topic) { told.push_back(topic); });
  publish("a", "hello");
  advance(milliseconds(0));
  EXPECT_EQ(told, std::vector<std::string>{"t"});
  const auto subscription = subscribe();
  const auto delivery = next(*subscription);
  advance(milliseconds(0));
  told.clear();
  ASSERT_EQ(outcome(await(delivery->nak(milliseconds(500), NakReason::overload))), "ok");
  advance(milliseconds(400));
  EXPECT_TRUE(told.empty());
  advance(milliseconds(100));
  EXPECT_EQ(told, std::vector<std::string>{"t"});
  broker().on_backlog(nullptr);
}

}  // namespace
}  // namespace millrace::contract
