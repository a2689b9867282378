// What the broker asks of a server: each request costs it a message.
#include <nats/nats.h>

#include "async/task_group.h"
#include "tests/faults/broker_nats/nats_rig.h"

namespace millrace::test {
namespace {

constexpr int kTakers = 64;
constexpr int kMessages = 640;

// Counts the requests for messages, as a client of its own that sees them, too.
class RequestCounter {
 public:
  explicit RequestCounter(const std::string& url) {
    EXPECT_EQ(natsConnection_ConnectTo(&connection_, url.c_str()), NATS_OK);
    EXPECT_EQ(natsConnection_SubscribeSync(&requests_, connection_, "$JS.API.CONSUMER.MSG.NEXT.>"), NATS_OK);
    EXPECT_EQ(natsConnection_Flush(connection_), NATS_OK);
  }
  RequestCounter(const RequestCounter&) = delete;
  RequestCounter& operator=(const RequestCounter&) = delete;
  ~RequestCounter() {
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

TEST(NatsRequests, OneStandsForManyMessages) {
  NatsServer server;
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  for (int i = 0; i < kMessages; i += kTakers) {
    std::vector<Outgoing> batch;
    for (int k = i; k < i + kTakers; ++k) batch.push_back(NatsRig::message(std::to_string(k), "x"));
    for (const auto& receipt : rig.await(broker->publish("t", std::move(batch)))) ASSERT_EQ(outcome(receipt), "ok");
  }
  const RequestCounter requests(server.url());
  const auto subscription = rig.subscribe(*broker, 0);
  int left = kMessages;
  EXPECT_TRUE(rig.await(take_all(rig.loop, *subscription, left)));
  const int count = requests.count();
  EXPECT_GE(count, kMessages / kTakers);
  EXPECT_LT(count, kMessages / 4) << "those that wait for the answers to their acks ask together";
}

}  // namespace
}  // namespace millrace::test
