// What several processes share through one NATS server.
#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "async/together.h"
#include "broker/nats/link.h"
#include "tests/faults/broker_nats/nats_rig.h"

namespace millrace::test {
namespace {

// Of two workers that take what they get, how they worked.
struct Journal {
  std::map<std::string, std::vector<int>> settled;  // numbers by key
  std::set<std::string> busy;
  std::set<std::string> ids;
  int overlaps = 0;
};

Task<void> work(NatsRig& rig, Subscription& subscription, Journal& journal, unsigned seed, std::stop_token stop) {
  std::mt19937 random(seed);
  for (;;) {
    auto delivery = co_await subscription.next(stop);
    if (!delivery) co_return;
    const std::string& data = (*delivery)->event().data;
    const std::string key = data.substr(0, 1);
    if (!journal.busy.insert(key).second) ++journal.overlaps;
    const auto worked = co_await sleep_for(rig.loop, milliseconds(random() % 5));
    journal.busy.erase(key);
    if (!worked) co_return;
    if (random() % 5 == 0) {
      const auto given = co_await (*delivery)->nak(milliseconds(random() % 30), NakReason::failed);
      EXPECT_EQ(outcome(given), "ok");
      continue;
    }
    if (journal.ids.insert(data).second) journal.settled[key].push_back(std::stoi(data.substr(1)));
    const auto acked = co_await (*delivery)->ack();
    EXPECT_EQ(outcome(acked), "ok");
  }
}

TEST(NatsShared, OneMessageOfAKeyAtATimeAndInOrderWithWorkersOnSeveralNodes) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  NatsServer server;
  NatsRig rig;
  const auto first = rig.open(NatsRig::options(server.url()));
  const auto second = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*first);
  constexpr int kMessages = 60;
  constexpr int kKeys = 3;
  for (int i = 0; i < kMessages; ++i) {
    const std::string key(1, static_cast<char>('a' + i % kKeys));
    ASSERT_EQ(outcome(rig.publish(*(i % 2 == 0 ? first : second),
                                  NatsRig::message(std::to_string(i), key + std::to_string(i), key))),
              "ok");
  }
  Journal journal;
  {
    const auto a = rig.subscribe(*first);
    const auto b = rig.subscribe(*second);
    TaskGroup workers(rig.loop);
    for (unsigned i = 0; i < 4; ++i)
      workers.spawn(work(rig, i % 2 == 0 ? *a : *b, journal, seed + i, workers.stop_token()));
    rig.until([&] { return journal.ids.size() == kMessages; });
    workers.request_stop();
    rig.await(workers.join());
  }
  EXPECT_EQ(journal.overlaps, 0);
  for (const auto& [key, numbers] : journal.settled) {
    EXPECT_TRUE(std::ranges::is_sorted(numbers)) << key;
    EXPECT_EQ(numbers.size(), static_cast<std::size_t>(kMessages / kKeys));
  }
}

TEST(NatsShared, FirstMessageWithAPriorityReachesWhoSubscribedBefore) {
  NatsServer server;
  NatsRig rig;
  const auto publisher = rig.open(NatsRig::options(server.url()));
  const auto worker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*worker);
  const auto subscription = rig.subscribe(*worker);
  auto urgent = NatsRig::message("urgent", "urgent");
  urgent.priority = Priority::high;
  ASSERT_EQ(outcome(rig.publish(*publisher, urgent)), "ok");
  EXPECT_EQ(rig.next(*subscription)->event().data, "urgent");
  // And a group that comes later has its consumers at once.
  auto late = rig.await(publisher->subscribe({.topic = "t", .group = "late"}));
  ASSERT_EQ(outcome(late), "ok");
  (*late)->grant(1);
  urgent.id = "more";
  ASSERT_EQ(outcome(rig.publish(*worker, urgent)), "ok");
  EXPECT_EQ(rig.next(**late)->event().data, "urgent");
}

TEST(NatsShared, ATopicThatTwoMakeAtOnceIsOneAndBothHaveIt) {
  NatsServer server;
  NatsRig rig;
  const auto here = rig.open(NatsRig::options(server.url()));
  const auto there = rig.open(NatsRig::options(server.url()));
  for (int i = 0; i < 20; ++i) {
    const TopicSpec spec{.name = "made" + std::to_string(i), .groups = {"g"}};
    const auto [mine, theirs] = rig.await(together(rig.loop, here->ensure(spec), there->ensure(spec)));
    EXPECT_EQ(outcome(mine), "ok");
    EXPECT_EQ(outcome(theirs), "ok");
  }
}

TEST(NatsShared, ATopicThatAnotherProcessRemovedIsGoneHereToo) {
  NatsServer server;
  NatsRig rig;
  const auto here = rig.open(NatsRig::options(server.url()));
  const auto there = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*here);
  auto urgent = NatsRig::message("urgent", "urgent", "key");
  urgent.priority = Priority::high;
  for (auto* broker : {here.get(), there.get()}) {  // both know that it has priorities
    urgent.id += "+";
    ASSERT_EQ(outcome(rig.publish(*broker, urgent)), "ok");
  }
  const auto subscription = rig.subscribe(*here);
  const auto held = rig.next(*subscription);
  ASSERT_EQ(outcome(rig.await(held->begin())), "ok");
  ASSERT_EQ(outcome(rig.await(there->remove_topic("t"))), "ok");
  rig.until([&] { return held->lease_lost().stop_requested(); });
  EXPECT_EQ(outcome(rig.await(held->ack())), "aborted");
  EXPECT_EQ(outcome(rig.publish(*here, urgent)), "not_found");
  EXPECT_EQ(outcome(rig.await(here->describe("t"))), "not_found");
  EXPECT_EQ(outcome(rig.await(here->lag("t", "g"))), "not_found");

  rig.make_topic(*there);
  // Of the new one they know nothing, not what was settled of this key, nor that anybody listens for priorities.
  urgent.event.data = "anew";
  ASSERT_EQ(outcome(rig.publish(*here, urgent)), "ok");
  const auto delivery = rig.next(*subscription);
  EXPECT_EQ(delivery->event().data, "anew");
  ASSERT_EQ(outcome(rig.await(delivery->begin())), "ok");
  EXPECT_EQ(outcome(rig.await(delivery->ack())), "ok");
}

TEST(NatsShared, ATopicMadeAnewWhileWeWereCutOffIsAnotherOne) {
  NatsServer server;
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  auto urgent = NatsRig::message("a", "before", "key");
  urgent.priority = Priority::high;
  ASSERT_EQ(outcome(rig.publish(*broker, urgent)), "ok");
  const auto subscription = rig.subscribe(*broker);
  {
    const auto first = rig.next(*subscription);
    ASSERT_EQ(outcome(rig.await(first->ack())), "ok");
  }
  // An operator with the command line of NATS, who tells nobody.
  const auto link = rig.await(nats::Link::open(rig.loop, NatsRig::options(server.url()), rig.log));
  ASSERT_EQ(outcome(link), "ok");
  const auto gone = rig.await((*link)->request({.subject = "$JS.API.STREAM.DELETE.millrace-t-t"}, milliseconds(5'000)));
  ASSERT_EQ(outcome(gone), "ok");
  rig.await((*link)->close());
  server.kill();
  server.start();
  const auto other = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*other);
  rig.until([&] { return rig.await(broker->describe("t")).has_value(); });
  urgent.event.data = "after";
  ASSERT_EQ(outcome(rig.publish(*broker, urgent)), "ok");
  EXPECT_EQ(rig.next(*subscription)->event().data, "after");
}

TEST(NatsShared, MessagesOfStrangersAreTakenAsTheyAre) {
  NatsServer server;
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  auto link = rig.await(nats::Link::open(rig.loop, NatsRig::options(server.url()), rig.log));
  ASSERT_EQ(outcome(link), "ok");
  const auto subscription = rig.subscribe(*broker);
  // No body, no headers; one that looks like a word of the server's; one that claims what only we may say.
  ASSERT_TRUE((*link)->send({.subject = "millrace.t.t"}));
  EXPECT_EQ(rig.next(*subscription)->event().data, "");
  ASSERT_TRUE((*link)->send({.subject = "millrace.t.t", .headers = {{"Status", "404"}}}));
  const auto looks_like_status = rig.next(*subscription);
  EXPECT_EQ(outcome(rig.await(looks_like_status->ack())), "ok");
  ASSERT_TRUE((*link)->send({.subject = "millrace.t.t",
                             .headers = {{"millrace-redrives", "9999999999999"},
                                         {"millrace-published", "-"},
                                         {"millrace-due", "x"},
                                         {"ce-specversion", "9.9"}},
                             .data = "{"}));
  EXPECT_EQ(rig.next(*subscription)->event().data, "{");
  ASSERT_TRUE((*link)->send({.subject = "millrace.k.t.ALL.high.nonsense", .data = "lost in no lane"}));
  ASSERT_TRUE((*link)->send({.subject = "millrace.t.t", .data = "last"}));
  EXPECT_EQ(rig.next(*subscription)->event().data, "last");
  rig.await((*link)->close());
}

Task<void> keep(NatsRig& rig, Delivery& delivery, std::stop_token stop) {
  for (;;) {
    const auto slept = co_await sleep_for(rig.loop, delivery.lease() / 3, stop);
    if (!slept) co_return;
    [[maybe_unused]] const auto extended = co_await delivery.extend();
  }
}

TEST(NatsShared, HealthyLongRunSurvivesTenRestartsOfTheServerWithoutALoss) {
  NatsServer server;
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(server.url()));
  const auto other = rig.open(NatsRig::options(server.url()));
  constexpr seconds kLease{5};  // many times what a restart takes
  rig.make_topic(*broker, kLease);
  ASSERT_EQ(outcome(rig.publish(*broker, NatsRig::message("a", "long"))), "ok");
  const auto subscription = rig.subscribe(*broker);
  const auto delivery = rig.next(*subscription);
  ASSERT_EQ(outcome(rig.await(delivery->begin())), "ok");
  const auto beside = rig.subscribe(*other);  // would take it, if it may
  TaskGroup tasks(rig.loop);
  tasks.spawn(keep(rig, *delivery, tasks.stop_token()));
  Journal taken;
  tasks.spawn([](Subscription& from, Journal& journal, std::stop_token stop) -> Task<void> {
    for (;;) {
      auto given = co_await from.next(stop);
      if (!given) co_return;
      const auto begun = co_await (*given)->begin();
      if (begun) ++journal.overlaps;
      [[maybe_unused]] const auto back = co_await (*given)->nak(milliseconds(100), NakReason::overload);
    }
  }(*beside, taken, tasks.stop_token()));
  const auto& reconnects = rig.metrics.counter("millrace_nats_reconnects_total", "");
  const auto begun_at = rig.loop.now();
  for (int i = 1; i <= 10 || rig.loop.now() - begun_at < kLease; ++i) {
    const auto before = reconnects.value();
    server.kill();
    server.start();
    rig.until([&] { return reconnects.value() >= before + 2; });
  }
  EXPECT_FALSE(delivery->lease_lost().stop_requested());
  tasks.request_stop();
  rig.await(tasks.join());
  EXPECT_EQ(taken.overlaps, 0) << "another worker began what was in work";
  EXPECT_EQ(outcome(rig.await(delivery->nak(milliseconds(0), NakReason::failed))), "ok");
  const auto again = rig.next(*subscription);
  const auto counters = rig.await(again->begin());
  ASSERT_EQ(outcome(counters), "ok");
  EXPECT_EQ(counters->failures, 1U);
  EXPECT_EQ(counters->losses, 0U);
  EXPECT_EQ(rig.metrics.counter("millrace_broker_losses_total", "").value(), 0U);
}

}  // namespace
}  // namespace millrace::test
