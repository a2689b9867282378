// The suite against a real nats-server that this program starts. Time is the test's: what the adapter does by our
// clock moves with it; the server's own clock cannot be moved, and cases that wait for it say so.
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>

#include "broker/nats/link.h"
#include "broker/nats/nats_broker.h"
#include "formats/json.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "tests/contract/broker/broker_contract.h"
#include "tests/support/manual_loop.h"
#include "tests/support/nats_server.h"

namespace millrace::contract {
namespace {

// What comes without being waited for comes within so long, on a machine with other things to do.
constexpr std::chrono::milliseconds kQuiet{20};
// After a crash the server takes back what nobody acknowledged, by its own clock.
constexpr std::chrono::milliseconds kAckWaitAfterCrash{200};
constexpr std::chrono::seconds kDefaultLease{30};

test::NatsServer& server() {
  static test::NatsServer the_server;  // one for the whole program
  return the_server;
}

class NatsBench final : public BrokerBench {
 public:
  NatsBench() {
    static int number = 0;
    options_.url = server().url();
    options_.prefix = "case" + std::to_string(++number) + "_" + std::to_string(::getpid());
    options_.synced = true;  // this server is started so
    options_.dead_bytes_max = 64 << 20;
    open();
  }
  ~NatsBench() override {
    if (broker_) broker_.reset();
    remove_streams();
  }

  EventLoop& loop() override { return loop_; }
  Broker& broker() override { return *broker_; }
  bool run_until(const std::function<bool()>& done) override { return loop_.run_until(done); }
  void advance(std::chrono::milliseconds span) override {
    settle();
    loop_.advance(span);
    settle();
  }
  void restart() override {
    run(close());
    broker_.reset();
    open();
  }
  // Its leases run out, too: nobody can tell a worker that is gone from one that is slow.
  void crash() override {
    broker_.reset();
    run(shorten_leases());
    wait_real(kAckWaitAfterCrash + std::chrono::milliseconds(300));
    open();
    loop_.advance(kDefaultLease + std::chrono::seconds(1));
  }
  bool moves_server_time() const override { return false; }
  std::chrono::milliseconds short_window() const override { return std::chrono::milliseconds(500); }
  std::chrono::milliseconds patience() const override { return std::chrono::seconds(5); }
  void pass(std::chrono::milliseconds span) override {
    advance(span);
    wait_real(span + std::chrono::milliseconds(200));
  }

 private:
  void settle() { wait_real(kQuiet); }
  void wait_real(std::chrono::milliseconds span) {
    bool over = false;
    const auto end = std::chrono::steady_clock::now() + span;
    const std::jthread clock([&, end] {
      std::this_thread::sleep_until(end);
      loop_.post([&] { over = true; });
    });
    if (!loop_.run_until([&] { return over; })) std::abort();
  }

  template <class T>
  void run(Task<T> task) {
    TaskGroup group(loop_);
    bool done = false;
    group.spawn(finish(std::move(task), done));
    if (!loop_.run_until([&] { return done; })) std::abort();
  }
  template <class T>
  static Task<void> finish(Task<T> task, bool& done) {
    [[maybe_unused]] const auto value = co_await task;
    done = true;
  }
  Task<bool> close() {
    co_await broker_->close();
    co_return true;
  }
  Task<bool> open_broker() {
    auto opened = co_await open_nats_broker(options_, loop_, metrics_, log_);
    if (!opened) ADD_FAILURE() << opened.error().message;
    if (!opened) std::abort();
    broker_ = std::move(*opened);
    co_return true;
  }
  void open() { run(open_broker()); }

  // What an operator would do with the command line of NATS, done by hand.
  Task<Result<Json>> call(nats::Link& link, std::string operation, Json request) {
    auto answer =
        co_await link.request({.subject = "$JS.API." + operation, .data = request.dump()}, std::chrono::seconds(5));
    if (!answer) co_return fail(answer.error());
    auto parsed = parse_json(answer->data(), 16 << 20);
    co_return parsed;
  }
  Task<bool> shorten_leases() {
    auto link = co_await nats::Link::open(loop_, options_, log_);
    if (!link) std::abort();
    auto streams = co_await call(**link, "STREAM.NAMES", Json::object({{"subject", options_.prefix + ".t.>"}}));
    if (!streams) std::abort();
    const Json* names = streams->find("streams");
    for (const auto& stream : names == nullptr ? Json::Array() : names->items()) {
      auto consumers = co_await call(**link, "CONSUMER.LIST." + *stream.string(), Json::object());
      if (!consumers) std::abort();
      const Json* list = consumers->find("consumers");
      for (const auto& consumer : list == nullptr ? Json::Array() : list->items()) {
        Json config = *consumer.find("config");
        config.set("ack_wait", std::chrono::nanoseconds(kAckWaitAfterCrash).count());
        const std::string where = *stream.string() + "." + consumer.string_or("name", "");
        auto updated = co_await call(**link, "CONSUMER.CREATE." + where,
                                     Json::object({{"stream_name", *stream.string()}, {"config", std::move(config)}}));
        if (!updated) std::abort();
      }
    }
    co_await (*link)->close();
    co_return true;
  }
  Task<bool> remove_all() {
    auto link = co_await nats::Link::open(loop_, options_, log_);
    if (!link) co_return false;
    auto streams = co_await call(**link, "STREAM.NAMES", Json::object());
    const Json* names = streams ? streams->find("streams") : nullptr;
    for (const auto& stream : names == nullptr ? Json::Array() : names->items()) {
      if (!stream.string()->starts_with(options_.prefix + "-")) continue;
      [[maybe_unused]] const auto gone = co_await call(**link, "STREAM.DELETE." + *stream.string(), Json::object());
    }
    co_await (*link)->close();
    co_return true;
  }
  void remove_streams() { run(remove_all()); }

  ManualLoop loop_;
  Metrics metrics_;
  Log log_{{.level = LogLevel::error}};
  NatsBrokerOptions options_;
  std::unique_ptr<Broker> broker_;
};

INSTANTIATE_TEST_SUITE_P(Nats, BrokerContract,
                         testing::Values(Backend{"nats", [] { return std::make_unique<NatsBench>(); }}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace millrace::contract
