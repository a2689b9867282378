// Who watches a topic is told of what comes or that something was missed, whatever becomes of its requests.
#include <memory>
#include <string>
#include <vector>

#include "formats/json.h"
#include "tests/faults/broker_nats/diverted.h"
#include "tests/faults/broker_nats/nats_rig.h"
#include "tests/support/manual_loop.h"

namespace millrace::test {
namespace {

constexpr const char* kRequests = "$JS.API.CONSUMER.MSG.NEXT.millrace-t-t.*";
constexpr const char* kLooks = "$JS.API.CONSUMER.INFO.millrace-t-t.*";

struct Watcher final : TopicWatcher {
  std::vector<std::string> shown;
  std::vector<std::uint64_t> left_out;

  void seen(const Event& event, std::string_view, std::chrono::system_clock::time_point) override {
    shown.push_back(event.data);
  }
  void missed(std::uint64_t count) override { left_out.push_back(count); }
  void topic_removed() override { ADD_FAILURE() << "the topic is there"; }

  [[nodiscard]] bool was_told() const { return !shown.empty() || !left_out.empty(); }
};

template <class T>
Result<T> await(ManualLoop& loop, Task<Result<T>> task) {
  std::optional<Result<T>> result;
  TaskGroup group(loop);
  group.spawn([](Task<Result<T>> what, std::optional<Result<T>>& into) -> Task<void> {
    auto value = co_await what;
    into.emplace(std::move(value));
  }(std::move(task), result));
  if (!loop.run_until([&] { return result.has_value(); })) std::abort();
  return std::move(*result);
}

// As when the server that had the request dies and another one of its cluster goes on: nobody says anything.
TEST(NatsWatching, ARequestThatVanishedIsMadeAgain) {
  NatsServer server;
  Diverted requests(server);
  ManualLoop loop;
  Metrics metrics;
  Log log{{.level = LogLevel::error}};
  auto options = NatsRig::options(server.url());
  options.request_timeout = std::chrono::hours(1);  // time moves while requests are on their way
  auto broker = await(loop, open_nats_broker(options, loop, metrics, log));
  ASSERT_EQ(outcome(broker), "ok");
  ASSERT_EQ(outcome(await(loop, (*broker)->ensure({.name = "t", .groups = {"g"}}))), "ok");
  requests.divert(kRequests);
  Watcher watcher;
  const auto watch = await(loop, (*broker)->watch("t", watcher));
  ASSERT_EQ(outcome(watch), "ok");
  loop.run_ready();
  while (requests.count() == 0) loop.run_ready();
  requests.end();
  std::vector<Outgoing> batch;
  batch.push_back(NatsRig::message("a", "a"));
  auto publishing = [](Broker& to, std::vector<Outgoing> what) -> Task<Result<Receipt>> {
    auto receipts = co_await to.publish("t", std::move(what));
    co_return std::move(receipts.at(0));
  };
  ASSERT_EQ(outcome(await(loop, publishing(**broker, std::move(batch)))), "ok");
  EXPECT_FALSE(watcher.was_told());
  loop.advance(seconds(45));
  EXPECT_TRUE(loop.run_until([&] { return watcher.was_told(); }));
}

TEST(NatsWatching, AServerThatDoesNotTellIsAskedAgain) {
  NatsServer server;
  Diverted requests(server);
  NatsRig rig;
  auto options = NatsRig::options(server.url());
  options.request_timeout = seconds(60);
  const auto broker = rig.open(options);
  rig.make_topic(*broker);
  requests.divert(kLooks);
  Watcher watcher;
  const auto watch = rig.await(broker->watch("t", watcher));
  ASSERT_EQ(outcome(watch), "ok");
  server.kill();
  server.start();
  rig.until([&] { return requests.refuse() > 3; });  // so many times a request is made again
  requests.end();
  requests.refuse();
  int number = 0;
  rig.until([&] {
    const std::string id = std::to_string(++number);
    return rig.publish(*broker, NatsRig::message(id, id)).has_value() && !watcher.shown.empty();
  });
  EXPECT_TRUE(watcher.shown.front() == "1" || !watcher.left_out.empty()) << "what it did not see, it was told of";
}

// The state of the watcher's consumer, asked for while nothing runs here.
class Consumer {
 public:
  explicit Consumer(const NatsServer& server) {
    EXPECT_EQ(natsConnection_ConnectTo(&connection_, server.url().c_str()), NATS_OK);
  }
  Consumer(const Consumer&) = delete;
  Consumer& operator=(const Consumer&) = delete;
  ~Consumer() { natsConnection_Destroy(connection_); }

  void publish(const std::string& data) const {
    natsMsg* stored = nullptr;
    EXPECT_EQ(natsConnection_Request(&stored, connection_, "millrace.t.t", data.data(), static_cast<int>(data.size()),
                                     10'000),
              NATS_OK);
    natsMsg_Destroy(stored);
  }
  [[nodiscard]] Json info() const {
    const Json list = ask("$JS.API.CONSUMER.LIST.millrace-t-t");
    const Json* consumers = list.find("consumers");
    for (const auto& each : consumers == nullptr ? Json::Array() : consumers->items()) {
      if (each.string_or("name", "").starts_with("WATCH-")) return each;
    }
    ADD_FAILURE() << "no consumer: " << list.dump();
    return Json::object();
  }

 private:
  [[nodiscard]] Json ask(const char* subject) const {
    natsMsg* answer = nullptr;
    EXPECT_EQ(natsConnection_RequestString(&answer, connection_, subject, "", 10'000), NATS_OK);
    if (answer == nullptr) return Json::object();
    auto parsed =
        parse_json({natsMsg_GetData(answer), static_cast<std::size_t>(natsMsg_GetDataLength(answer))}, 1 << 20);
    natsMsg_Destroy(answer);
    return parsed ? std::move(*parsed) : Json::object();
  }

  natsConnection* connection_ = nullptr;
};

// By the one watcher of a topic.
class NatsWatched : public testing::Test {
 protected:
  void SetUp() override {
    rig_.make_topic(*broker_);
    watch_ = rig_.await(broker_->watch("t", watcher_));
    ASSERT_EQ(outcome(watch_), "ok");
  }

  NatsServer server_;
  NatsRig rig_;
  std::unique_ptr<Broker> broker_ = rig_.open(NatsRig::options(server_.url()));
  Watcher watcher_;
  Result<std::unique_ptr<Watch>> watch_;
  const Consumer consumer_{server_};
};

TEST_F(NatsWatched, WhatIsOnItsWayIsBoundedByBytes) {
  rig_.until([&] { return consumer_.info().int_or("num_waiting", 0) == 1; });
  constexpr std::size_t kEvents = 40;
  for (std::size_t i = 0; i < kEvents; ++i) consumer_.publish(std::to_string(i) + std::string(500'000, 'x'));
  Json info = consumer_.info();
  while (info.int_or("num_waiting", 0) > 0 && info.int_or("num_pending", 0) > 0) info = consumer_.info();
  EXPECT_LE(info.find("delivered")->int_or("consumer_seq", 0), 4) << "2 MiB";
  rig_.until([&] { return watcher_.shown.size() + watcher_.left_out.size() >= kEvents; });
  for (std::size_t i = 0; i < watcher_.shown.size(); ++i) {
    EXPECT_TRUE(watcher_.shown[i].starts_with(std::to_string(i) + "x"));
  }
  EXPECT_TRUE(watcher_.left_out.empty());
}

// A server says nothing when the last byte of a request is used, and refuses what is too large for a whole one.
TEST_F(NatsWatched, NoSizeEndsIt) {
  constexpr std::size_t kRequest = 2 << 20;           // also the largest that this server takes
  for (std::size_t less = 70; less <= 130; ++less) {  // what the server counts beside the data is in between
    watcher_.shown.clear();
    consumer_.publish(std::string(kRequest - less, 'x'));
    rig_.until([&] { return watcher_.was_told(); });
    ASSERT_TRUE(watcher_.left_out.empty()) << less;
  }
}

}  // namespace
}  // namespace millrace::test
