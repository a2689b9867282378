// The long ones: many deaths of the server, long cuts, a thousand reconnects.
#include <algorithm>
#include <cstdio>
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

std::size_t count_in(const char* directory) {
  const std::filesystem::directory_iterator entries(directory);
  return static_cast<std::size_t>(std::distance(begin(entries), end(entries)));
}

std::size_t resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stoul(line.substr(6));
  }
  return 0;
}

TEST(NatsSoak, AThousandReconnectsLeaveNothingBehind) {
  NatsServer server;
  FaultProxy proxy(server.port());
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(url_of(proxy)));
  rig.make_topic(*broker);
  const auto subscription = rig.subscribe(*broker);
  const auto& reconnects = rig.metrics.counter("millrace_nats_reconnects_total", "");
  std::size_t threads = 0;
  std::size_t descriptors = 0;
  std::size_t memory_kib = 0;
  for (int i = 1; i <= 1000; ++i) {
    const auto before = reconnects.value();
    proxy.cut();
    rig.until([&] { return reconnects.value() > before; });
    if (i != 100) continue;
    threads = count_in("/proc/self/task");
    descriptors = count_in("/proc/self/fd");
    memory_kib = resident_kib();
  }
  ASSERT_EQ(outcome(rig.publish(*broker, NatsRig::message("a", "x"))), "ok");
  EXPECT_EQ(rig.next(*subscription)->event().data, "x");
  const auto memory_after_kib = resident_kib();
  std::printf("after 100 and 1,000 reconnects: %zu and %zu KiB, %zu and %zu threads, %zu and %zu descriptors\n",
              memory_kib, memory_after_kib, threads, count_in("/proc/self/task"), descriptors,
              count_in("/proc/self/fd"));
  EXPECT_LE(count_in("/proc/self/task"), threads + 1);
  EXPECT_LE(count_in("/proc/self/fd"), descriptors + 4);
  EXPECT_LE(memory_after_kib, memory_kib + 2048);
}

struct Traffic {
  std::set<std::string> confirmed;
  std::set<std::string> taken;
  int repeats = 0;
  bool publishing = true;
};

Task<void> publish_on(NatsRig& rig, Broker& broker, Traffic& traffic, int first, int step, std::stop_token stop) {
  for (int i = first; !stop.stop_requested(); i += step) {
    const std::string id = std::to_string(i);
    for (;;) {
      std::vector<Outgoing> batch;
      batch.push_back(NatsRig::message(id, id));
      const auto receipts = co_await broker.publish("t", std::move(batch));
      if (receipts[0]) break;
      const auto slept = co_await sleep_for(rig.loop, milliseconds(50));
      if (!slept) co_return;
    }
    traffic.confirmed.insert(id);
  }
}

Task<void> take_on(Subscription& subscription, Traffic& traffic, std::stop_token stop) {
  for (;;) {
    auto delivery = co_await subscription.next(stop);
    if (!delivery) co_return;
    if (!traffic.taken.insert((*delivery)->event().data).second) ++traffic.repeats;
    [[maybe_unused]] const auto acked = co_await (*delivery)->ack();
  }
}

// Publishes and takes while `harm` is done, and until everything confirmed was taken.
void run_under(NatsRig& rig, const std::string& url, const std::function<void()>& harm) {
  auto options = NatsRig::options(url);
  options.publish_timeout = seconds(60);
  options.connect_for = seconds(60);
  const auto broker = rig.open(options);
  rig.make_topic(*broker);
  const auto subscription = rig.subscribe(*broker, 1'000'000);
  Traffic traffic;
  TaskGroup publishers(rig.loop);
  TaskGroup takers(rig.loop);
  for (int i = 0; i < 8; ++i) publishers.spawn(publish_on(rig, *broker, traffic, i, 8, publishers.stop_token()));
  for (int i = 0; i < 8; ++i) takers.spawn(take_on(*subscription, traffic, takers.stop_token()));
  harm();
  publishers.request_stop();
  rig.await(publishers.join());
  rig.until([&] { return std::ranges::includes(traffic.taken, traffic.confirmed); });
  takers.request_stop();
  rig.await(takers.join());
  std::printf("%zu confirmed and taken, %d came twice\n", traffic.confirmed.size(), traffic.repeats);
}

TEST(NatsSoak, TwentyKillsOfTheServerUnderLoadLoseNothing) {
  NatsServer server;
  NatsRig rig;
  run_under(rig, server.url(), [&] {
    for (int i = 0; i < 20; ++i) {
      rig.pause(milliseconds(700));
      server.kill();
      server.start();
    }
    rig.pause(milliseconds(700));
  });
}

TEST(NatsSoak, CutsOfFiveSecondsAndOfAMinuteInEachDirectionLoseNothing) {
  NatsServer server;
  FaultProxy proxy(server.port());
  NatsRig rig;
  run_under(rig, url_of(proxy), [&] {
    for (const Way way : {Way::to_server, Way::to_client, Way::both}) {
      for (const auto span : {seconds(5), seconds(60)}) {
        proxy.silence(way);
        rig.pause(span);
        proxy.heal();
        rig.pause(seconds(3));
      }
    }
  });
}

TEST(NatsSoak, ServerThatComesUpThirtySecondsLateIsWaitedFor) {
  NatsServer server;
  NatsRig rig;
  server.kill();
  const auto later = rig.loop.start_timer(seconds(30), [&] { server.start(); });  // its process goes with its thread
  run_under(rig, server.url(), [&] { rig.pause(seconds(1)); });
}

}  // namespace
}  // namespace millrace::test
