#include "tests/contract/broker/broker_contract.h"

#include <algorithm>

namespace millrace::contract {

void BrokerContract::SetUp() {
  bench_ = GetParam().make();
  group_ = std::make_unique<TaskGroup>(bench_->loop());
}

void BrokerContract::TearDown() {
  group_.reset();
  bench_.reset();
}

void BrokerContract::restart() {
  group_ = std::make_unique<TaskGroup>(bench_->loop());
  bench_->restart();
}

void BrokerContract::crash() {
  group_ = std::make_unique<TaskGroup>(bench_->loop());
  bench_->crash();
}

Task<bool> BrokerContract::start_close() {
  co_await broker().close();
  co_return true;
}

void BrokerContract::make_topic(TopicSpec spec) {
  const auto made = await(broker().ensure(std::move(spec)));
  ASSERT_EQ(outcome(made), "ok");
}

std::unique_ptr<Subscription> BrokerContract::subscribe(const std::string& topic, const std::string& group,
                                                        std::uint32_t credit) {
  auto made = await(broker().subscribe({.topic = topic, .group = group}));
  EXPECT_EQ(outcome(made), "ok");
  if (!made) return nullptr;
  (*made)->grant(credit);
  return std::move(*made);
}

void BrokerContract::publish(const std::string& id, const std::string& data, std::chrono::milliseconds delay,
                             const std::string& topic) {
  std::vector<Outgoing> batch;
  batch.push_back(make_message(id, data, delay));
  const auto receipts = publish_all(std::move(batch), topic);
  ASSERT_EQ(receipts.size(), 1U);
  ASSERT_EQ(outcome(receipts[0]), "ok");
  ASSERT_FALSE(receipts[0]->duplicate);
}

std::vector<Result<Receipt>> BrokerContract::publish_all(std::vector<Outgoing> batch, const std::string& topic) {
  return await(broker().publish(topic, std::move(batch)));
}

void BrokerContract::publish_numbered(int count, const std::string& topic) {
  std::vector<Outgoing> batch;
  for (int i = 0; i < count; ++i) batch.push_back(make_message(std::to_string(i), std::to_string(i)));
  const auto receipts = publish_all(std::move(batch), topic);
  ASSERT_TRUE(std::ranges::all_of(receipts, [](const auto& each) { return each.has_value(); }));
}

std::unique_ptr<Delivery> BrokerContract::next(Subscription& subscription) {
  auto delivery = await(subscription.next({}));
  EXPECT_EQ(outcome(delivery), "ok");
  return delivery ? std::move(*delivery) : nullptr;
}

bool BrokerContract::nothing(Subscription& subscription) {
  std::stop_source stop;
  const auto running = start(subscription.next(stop.get_token()));
  advance(std::chrono::milliseconds(0));
  stop.request_stop();
  finish(*running);
  if (running->value->has_value()) {
    ADD_FAILURE() << "unexpected delivery of '" << (**running->value)->event().data << "'";
    return false;
  }
  return running->value->error().code == Errc::cancelled;
}

Lag BrokerContract::lag(const std::string& topic, const std::string& group) {
  const auto found = await(broker().lag(topic, group));
  EXPECT_EQ(outcome(found), "ok");
  return found.value_or(Lag{});
}

std::vector<std::string> BrokerContract::drain(Subscription& subscription) {
  std::vector<std::string> data;
  for (;;) {
    std::stop_source stop;
    const auto running = start(subscription.next(stop.get_token()));
    // A backend may have to fetch: what is pending will come, so wait for it.
    const auto pending = await(broker().lag("t", "g"));
    if (pending && pending->pending > 0) {
      finish(*running);
    } else {
      advance(std::chrono::milliseconds(0));
      stop.request_stop();
      finish(*running);
    }
    if (!running->value->has_value()) return data;
    auto& delivery = **running->value;
    data.push_back(delivery->event().data);
    EXPECT_EQ(outcome(await(delivery->ack())), "ok");
  }
}

Event make_event(std::string data) {
  Event event;
  event.id = EventId("0123456789abcdef0123456789abcdef");
  event.source = "contract";
  event.source_id = "1";
  event.type = "test.event";
  event.time = std::chrono::system_clock::time_point(std::chrono::seconds(1'700'000'000));
  event.content_type = "text/plain";
  event.order = Order("01HZZZZZZZZZZZZZZZZZZZZZZZ");
  event.data = std::move(data);
  return event;
}

Outgoing make_message(std::string id, std::string data, std::chrono::milliseconds delay) {
  return {.id = std::move(id), .event = make_event(std::move(data)), .delay = delay};
}

}  // namespace millrace::contract
