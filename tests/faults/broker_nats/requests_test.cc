// What the broker asks of a server: each request costs it a message.
#include <nats/nats.h>

#include "async/task_group.h"
#include "formats/json.h"
#include "tests/faults/broker_nats/nats_rig.h"
#include "tests/support/fault_proxy.h"

namespace millrace::test {
namespace {

constexpr int kTakers = 64;
constexpr int kMessages = 640;
constexpr std::int64_t kPatienceMs = 30'000;  // a hang guard

// Sees the requests for messages, as a client of its own that hears of them, too.
class Requests {
 public:
  explicit Requests(const std::string& url) {
    EXPECT_EQ(natsConnection_ConnectTo(&connection_, url.c_str()), NATS_OK);
    EXPECT_EQ(natsConnection_SubscribeSync(&requests_, connection_, "$JS.API.CONSUMER.MSG.NEXT.>"), NATS_OK);
    EXPECT_EQ(natsConnection_Flush(connection_), NATS_OK);
  }
  Requests(const Requests&) = delete;
  Requests& operator=(const Requests&) = delete;
  ~Requests() {
    natsSubscription_Destroy(requests_);
    natsConnection_Destroy(connection_);
  }

  [[nodiscard]] int count() const {
    EXPECT_EQ(natsConnection_Flush(connection_), NATS_OK);
    int messages = 0;
    int bytes = 0;
    EXPECT_EQ(natsSubscription_GetPending(requests_, &messages, &bytes), NATS_OK);
    return messages;
  }
  // How long the first one that was not asked about yet shall stand.
  [[nodiscard]] std::chrono::nanoseconds next_life() const {
    natsMsg* message = nullptr;
    EXPECT_EQ(natsSubscription_NextMsg(&message, requests_, kPatienceMs), NATS_OK);
    if (message == nullptr) return {};
    const auto request =
        parse_json({natsMsg_GetData(message), static_cast<std::size_t>(natsMsg_GetDataLength(message))}, 1024);
    natsMsg_Destroy(message);
    return std::chrono::nanoseconds(request ? request->int_or("expires", 0) : 0);
  }

 private:
  natsConnection* connection_ = nullptr;
  natsSubscription* requests_ = nullptr;
};

Task<void> take(Subscription& subscription, int& left) {
  while (left > 0) {
    --left;
    subscription.grant(1);
    const auto delivery = co_await subscription.next({});
    EXPECT_EQ(outcome(delivery), "ok");
    if (!delivery) co_return;
    const auto acked = co_await (*delivery)->ack();
    EXPECT_EQ(outcome(acked), "ok");
  }
}

Task<bool> take_all(UvEventLoop& loop, Subscription& subscription, int& left) {
  TaskGroup takers(loop);
  for (int i = 0; i < kTakers; ++i) takers.spawn(take(subscription, left));
  co_await takers.join();
  co_return true;
}

void publish(NatsRig& rig, Broker& broker, int count) {
  for (int i = 0; i < count; i += kTakers) {
    std::vector<Outgoing> batch;
    for (int k = i; k < std::min(count, i + kTakers); ++k) {
      batch.push_back(NatsRig::message(std::to_string(k), "x"));
    }
    for (const auto& receipt : rig.await(broker.publish("t", std::move(batch)))) ASSERT_EQ(outcome(receipt), "ok");
  }
}

TEST(NatsRequests, OneStandsForManyMessages) {
  NatsServer server;
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  publish(rig, *broker, kMessages);
  const Requests requests(server.url());
  const auto subscription = rig.subscribe(*broker, 0);
  int left = kMessages;
  EXPECT_TRUE(rig.await(take_all(rig.loop, *subscription, left)));
  const int count = requests.count();
  EXPECT_GE(count, kMessages / kTakers);
  EXPECT_LT(count, kMessages / 4) << "those that wait for the answers to their acks ask together";
}

constexpr int kSettling = 40;
constexpr int kFree = 4;

Task<void> ack(Delivery& delivery, int& ended) {
  const auto acked = co_await delivery.ack();
  EXPECT_EQ(outcome(acked), "ok");
  ++ended;
}

Task<void> take_one(Subscription& subscription) {
  subscription.grant(1);
  const auto delivery = co_await subscription.next({});
  EXPECT_EQ(outcome(delivery), "ok");
}

// Whether somebody asks for those who are free, although no ack is confirmed: nothing comes back from the server until
// then.
Task<bool> is_asked(UvEventLoop& loop, FaultProxy& proxy, const Requests& requests, Subscription& subscription,
                    const std::vector<std::unique_ptr<Delivery>>& held) {
  proxy.silence(FaultProxy::Way::to_client);
  int ended = 0;
  TaskGroup tasks(loop);
  for (const auto& delivery : held) tasks.spawn(ack(*delivery, ended));
  const int before = requests.count();
  for (int i = 0; i < kFree; ++i) tasks.spawn(take_one(subscription));
  const auto give_up = loop.now() + milliseconds(kPatienceMs);
  while (requests.count() == before && ended == 0 && loop.now() < give_up) {
    [[maybe_unused]] const auto slept = co_await sleep_for(loop, milliseconds(5));
  }
  const bool asked = requests.count() > before && ended == 0;
  proxy.heal();
  co_await tasks.join();
  co_return asked;
}

TEST(NatsRequests, AcksThatAreLateAreNotWaitedFor) {
  NatsServer server;
  FaultProxy proxy(server.port());
  NatsRig rig;
  auto with = NatsRig::options("nats://127.0.0.1:" + std::to_string(proxy.port()));
  with.ping_interval = seconds(90);  // longer than this silence
  with.request_timeout = seconds(60);
  const auto broker = rig.open(with);
  rig.make_topic(*broker, seconds(120));
  publish(rig, *broker, kSettling + kFree);
  const auto subscription = rig.subscribe(*broker, kSettling);
  std::vector<std::unique_ptr<Delivery>> held;
  held.reserve(kSettling);
  while (held.size() < kSettling) held.push_back(rig.next(*subscription));
  rig.pause(milliseconds(30));  // longer than acks are waited for; else the watch looks again, which takes its time
  const Requests requests(server.url());
  EXPECT_TRUE(rig.await(is_asked(rig.loop, proxy, requests, *subscription, held)));
}

// Else the server's word that a request is over would wake us once for each of thousands of idle topics.
TEST(NatsRequests, OfIdleTopicsEndAtFullSeconds) {
  NatsServer server;
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(server.url()));
  const Requests requests(server.url());
  std::vector<std::unique_ptr<Subscription>> subscriptions;
  for (const std::string name : {"a", "b", "c", "d", "e"}) {
    const auto made = rig.await(broker->ensure({.name = name, .groups = {"g"}, .lease = seconds(30)}));
    ASSERT_EQ(outcome(made), "ok");
    const auto before = rig.loop.now();
    auto subscription = rig.await(broker->subscribe({.topic = name, .group = "g"}));
    ASSERT_EQ(outcome(subscription), "ok");
    subscriptions.push_back(std::move(*subscription));
    rig.until([&] { return requests.count() > 0; });
    const auto after = rig.loop.now();
    const auto life = requests.next_life();
    ASSERT_GT(life.count(), 0);
    const auto begins = std::chrono::ceil<seconds>((before + life).time_since_epoch());
    EXPECT_LE(begins, (after + life).time_since_epoch()) << name << ": no full second in between";
  }
}

}  // namespace
}  // namespace millrace::test
