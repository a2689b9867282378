// Broken, slow and silent networks, servers that are killed, full disks.
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/faults/broker_nats/nats_rig.h"
#include "tests/support/fault_proxy.h"

namespace millrace::test {
namespace {

using Way = FaultProxy::Way;

std::string url_of(const FaultProxy& proxy) {
  return "nats://127.0.0.1:" + std::to_string(proxy.port());
}

// Data of everything there is, acked.
std::multiset<std::string> take(NatsRig& rig, Subscription& subscription, std::size_t count) {
  std::multiset<std::string> taken;
  while (taken.size() < count) {
    const auto delivery = rig.next(subscription);
    taken.insert(delivery->event().data);
    EXPECT_EQ(outcome(rig.await(delivery->ack())), "ok");
  }
  return taken;
}

class NatsCut : public testing::TestWithParam<Way> {};

TEST_P(NatsCut, OneWayOrBothIsNoticedAndWhatWasOnItsWayArrivesOnce) {
  NatsServer server;
  FaultProxy proxy(server.port());
  NatsRig rig;
  auto options = NatsRig::options(url_of(proxy));
  options.publish_timeout = seconds(30);
  options.request_timeout = seconds(2);
  const auto broker = rig.open(options);
  rig.make_topic(*broker);
  const auto& reconnects = rig.metrics.counter("millrace_nats_reconnects_total", "");
  proxy.silence(GetParam());
  std::vector<Outgoing> batch;
  batch.push_back(NatsRig::message("a", "on its way"));
  std::vector<Result<Receipt>> receipts;
  TaskGroup publishing(rig.loop);
  publishing.spawn([](Broker& to, std::vector<Outgoing> messages, std::vector<Result<Receipt>>& into) -> Task<void> {
    auto answers = co_await to.publish("t", std::move(messages));
    into = std::move(answers);
  }(*broker, std::move(batch), receipts));
  rig.pause(milliseconds(1200));  // three pings
  proxy.heal();
  proxy.cut();
  rig.until([&] { return !receipts.empty(); });
  EXPECT_EQ(outcome(receipts.at(0)), "ok");
  rig.until([&] { return reconnects.value() >= 1; });  // what was held back may arrive before the cut
  ASSERT_EQ(outcome(rig.publish(*broker, NatsRig::message("b", "last"))), "ok");
  const auto subscription = rig.subscribe(*broker);
  EXPECT_EQ(take(rig, *subscription, 2), (std::multiset<std::string>{"last", "on its way"}));
  const auto lag = rig.await(broker->lag("t", "g"));
  ASSERT_EQ(outcome(lag), "ok");
  EXPECT_EQ(lag->open(), 0U);
}

INSTANTIATE_TEST_SUITE_P(Ways, NatsCut, testing::Values(Way::to_server, Way::to_client, Way::both),
                         [](const auto& way) {
                           return way.param == Way::both        ? "Both"
                                  : way.param == Way::to_server ? "ToServer"
                                                                : "ToClient";
                         });

TEST(NatsNetwork, HalfOpenConnectionIsFoundOutByPings) {
  NatsServer server;
  FaultProxy proxy(server.port());
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(url_of(proxy)));
  const auto before = proxy.accepted();
  proxy.silence(Way::both);  // open connections stay open
  rig.until([&] { return proxy.accepted() > before; });
  proxy.heal();
  const auto& reconnects = rig.metrics.counter("millrace_nats_reconnects_total", "");
  rig.until([&] { return reconnects.value() > 0; });
  EXPECT_EQ(outcome(rig.await(broker->topics())), "ok");
}

TEST(NatsNetwork, SlowLinkOnlyTakesItsTime) {
  NatsServer server;
  FaultProxy proxy(server.port());
  NatsRig rig;
  auto options = NatsRig::options(url_of(proxy));
  options.request_timeout = seconds(10);
  const auto broker = rig.open(options);
  rig.make_topic(*broker);
  proxy.limit(125'000);  // 1 Mbit/s
  proxy.delay(milliseconds(20));
  std::vector<Outgoing> batch;
  for (int i = 0; i < 10; ++i) batch.push_back(NatsRig::message(std::to_string(i), std::string(10'000, 'x')));
  for (const auto& receipt : rig.await(broker->publish("t", std::move(batch)))) EXPECT_EQ(outcome(receipt), "ok");
  const auto subscription = rig.subscribe(*broker);
  EXPECT_EQ(take(rig, *subscription, 10).size(), 10U);
}

TEST(NatsNetwork, VerdictGivenWhileTheServerIsAwayIsToldWhenItIsBack) {
  NatsServer server;
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  ASSERT_EQ(outcome(rig.publish(*broker, NatsRig::message("a", "x"))), "ok");
  const auto subscription = rig.subscribe(*broker);
  const auto delivery = rig.next(*subscription);
  ASSERT_EQ(outcome(rig.await(delivery->begin())), "ok");
  server.kill();
  std::string acked;
  TaskGroup acking(rig.loop);
  acking.spawn([](Delivery& one, std::string& into) -> Task<void> {
    const auto done = co_await one.ack();
    into = outcome(done);
  }(*delivery, acked));
  rig.pause(milliseconds(300));
  EXPECT_EQ(acked, "") << "it is not given up";
  server.start();
  rig.until([&] { return !acked.empty(); });
  EXPECT_EQ(acked, "ok");
  const auto lag = rig.await(broker->lag("t", "g"));
  ASSERT_EQ(outcome(lag), "ok");
  EXPECT_EQ(lag->open(), 0U);
}

TEST(NatsNetwork, NothingConfirmedIsLostWhenTheServerIsKilledUnderLoad) {
  NatsServer server;
  NatsRig rig;
  auto options = NatsRig::options(server.url());
  options.publish_timeout = seconds(30);
  const auto broker = rig.open(options);
  rig.make_topic(*broker);
  constexpr int kMessages = 600;
  std::set<std::string> confirmed;
  int answered = 0;
  TaskGroup publishing(rig.loop);
  for (int i = 0; i < kMessages; ++i) {
    publishing.spawn([](Broker& to, Outgoing one, std::set<std::string>& into, int& count) -> Task<void> {
      const std::string id = one.id;
      std::vector<Outgoing> batch;
      batch.push_back(std::move(one));
      const auto receipts = co_await to.publish("t", std::move(batch));
      ++count;
      if (receipts[0]) into.insert(id);
    }(*broker, NatsRig::message(std::to_string(i), std::to_string(i)), confirmed, answered));
    if (i % 200 == 100) {
      server.kill();
      server.start();
    }
  }
  rig.until([&] { return answered == kMessages; });
  EXPECT_EQ(confirmed.size(), static_cast<std::size_t>(kMessages)) << "all are tried until the server is back";
  const auto subscription = rig.subscribe(*broker);
  std::multiset<std::string> seen;
  while (seen.size() < confirmed.size()) {
    const auto delivery = rig.next(*subscription);
    seen.insert(delivery->event().data);
    if (seen.size() == 200) {
      server.kill();
      server.start();
    }
    ASSERT_EQ(outcome(rig.await(delivery->ack())), "ok");
  }
  EXPECT_EQ((std::set<std::string>(seen.begin(), seen.end()).size()), confirmed.size()) << "each came once";
}

TEST(NatsNetwork, ServersOfAListAreTriedInTurn) {
  NatsServer server;
  NatsRig rig;
  const auto broker =
      rig.open(NatsRig::options("nats://127.0.0.1:1,127.0.0.1:" + std::to_string(server.port()) + ",127.0.0.1:2"));
  rig.make_topic(*broker);
  const auto& reconnects = rig.metrics.counter("millrace_nats_reconnects_total", "");
  server.kill();
  server.start();
  rig.until([&] { return reconnects.value() > 0; });
  EXPECT_EQ(outcome(rig.publish(*broker, NatsRig::message("a", "x"))), "ok");
}

TEST(NatsNetwork, ServerThatComesUpLateIsWaitedFor) {
  NatsServer server;
  NatsRig rig;
  server.kill();
  auto options = NatsRig::options(server.url());
  options.connect_for = seconds(60);
  std::optional<Result<std::unique_ptr<Broker>>> opened;
  TaskGroup opening(rig.loop);
  opening.spawn(
      [](NatsRig& with, NatsBrokerOptions how, std::optional<Result<std::unique_ptr<Broker>>>& into) -> Task<void> {
        auto broker = co_await open_nats_broker(std::move(how), with.loop, with.metrics, with.log);
        into.emplace(std::move(broker));
      }(rig, options, opened));
  rig.pause(milliseconds(500));
  EXPECT_FALSE(opened);
  server.start();
  rig.until([&] { return opened.has_value(); });
  EXPECT_EQ(outcome(*opened), "ok");
}

TEST(NatsNetwork, FullServerRefusesPublishesAndRecovers) {
  NatsServer server;
  server.kill();
  server.set_max_file_store("100MB");  // of which the dead letters reserve 64 MiB
  server.start();
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  int stored = 0;
  Result<Receipt> last = Receipt{};
  for (; last && stored < 600; ++stored) {
    last = rig.publish(*broker, NatsRig::message(std::to_string(stored), std::string(500'000, 'x')));
  }
  EXPECT_EQ(outcome(last), "no_space") << (last ? "" : last.error().message);
  const auto subscription = rig.subscribe(*broker);
  EXPECT_EQ(take(rig, *subscription, static_cast<std::size_t>(stored) - 1).size(),
            static_cast<std::size_t>(stored) - 1);
  rig.until([&] { return rig.publish(*broker, NatsRig::message("again", "fits")).has_value(); });
}

std::size_t count_in(const char* directory) {
  const std::filesystem::directory_iterator entries(directory);
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

TEST(NatsNetwork, FiftyReconnectsLeaveNoThreadsAndDescriptorsBehind) {
  NatsServer server;
  FaultProxy proxy(server.port());
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(url_of(proxy)));
  rig.make_topic(*broker);
  const auto subscription = rig.subscribe(*broker);
  const auto& reconnects = rig.metrics.counter("millrace_nats_reconnects_total", "");
  std::size_t threads = 0;
  std::size_t descriptors = 0;
  for (int i = 1; i <= 50; ++i) {
    const auto before = reconnects.value();
    proxy.cut();
    rig.until([&] { return reconnects.value() > before; });
    if (i != 5) continue;
    threads = count_in("/proc/self/task");
    descriptors = count_in("/proc/self/fd");
  }
  ASSERT_EQ(outcome(rig.publish(*broker, NatsRig::message("a", "x"))), "ok");
  EXPECT_EQ(rig.next(*subscription)->event().data, "x");
  // The proxy lets go of its two sockets in its own time.
  EXPECT_LE(count_in("/proc/self/task"), threads + 1);
  EXPECT_LE(count_in("/proc/self/fd"), descriptors + 4);
}

}  // namespace
}  // namespace millrace::test
