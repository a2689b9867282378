#include <algorithm>
#include <chrono>
#include <utility>
#include <vector>

#include "async/sleep.h"
#include "async/task_group.h"
#include "bench/broker_bench.h"
#include "bench/message_bytes.h"
#include "bench/nats/rounds.h"
#include "broker/nats/nats_broker.h"

namespace millrace::bench {
namespace {

using Clock = std::chrono::steady_clock;

auto nats_at(const std::string& url) {
  return [url](EventLoop& loop, Metrics& metrics, Log& log) {
    NatsBrokerOptions options;
    options.url = url;
    options.prefix = "bench";
    options.dead_bytes_max = 1 << 20;
    return open_nats_broker(std::move(options), loop, metrics, log);
  };
}

class MillraceClient final : public Client {
 public:
  explicit MillraceClient(const std::string& url) : bench_(nats_at(url)), subscription_(bench_.subscribe("t")) {}

  void publish(std::uint64_t window, std::uint64_t messages) override {
    value_of(bench_.await(all(window, messages, 0)));
  }
  void consume(std::uint64_t window, std::uint64_t messages) override {
    value_of(bench_.await(all(window, 0, messages)));
  }
  void both(std::uint64_t window, std::uint64_t messages) override {
    value_of(bench_.await(all(window, messages, messages)));
  }
  void begin(std::uint64_t messages) override {
    begin_ = true;
    value_of(bench_.await(all(1, 0, messages)));
    begin_ = false;
  }

 private:
  Task<Result<void>> all(std::uint64_t window, std::uint64_t to_publish, std::uint64_t to_take) {
    to_publish_ = to_publish;
    to_take_ = to_take;
    TaskGroup group(bench_.loop());
    if (to_publish > 0) {
      for (std::uint64_t i = 0; i < window; ++i) group.spawn(publisher());
    }
    if (to_take > 0) {
      for (std::uint64_t i = 0; i < window; ++i) group.spawn(taker());
    }
    co_await group.join();
    co_return Result<void>{};
  }

  Task<void> publisher() {
    while (to_publish_ > 0) {
      --to_publish_;
      std::vector<Outgoing> one;
      one.push_back(message(next_++));
      const auto receipts = co_await bench_.broker().publish("t", std::move(one));
      if (!receipts[0] || receipts[0]->duplicate) std::abort();
    }
  }

  Task<void> taker() {
    while (to_take_ > 0) {
      --to_take_;
      subscription_->grant(1);
      const auto delivery = co_await subscription_->next({});
      if (!delivery || (*delivery)->event().data.size() != kMessageBytes) std::abort();
      if (begin_) {
        const auto begun = co_await (*delivery)->begin();
        if (!begun) std::abort();
      }
      const auto acked = co_await (*delivery)->ack();
      if (!acked) std::abort();
    }
  }

  BrokerBench bench_;
  std::unique_ptr<Subscription> subscription_;
  // No id twice, whoever published before.
  std::uint64_t next_ = static_cast<std::uint64_t>(Clock::now().time_since_epoch().count());
  std::uint64_t to_publish_ = 0;
  std::uint64_t to_take_ = 0;
  bool begin_ = false;
};

struct Draining {
  Subscription& subscription;
  EventLoop& loop;
  std::uint64_t taken = 0;
  std::uint64_t allowed = 0;
  bool over = false;
};

// Acks are not waited for: as many are on their way as the rate wants.
Task<void> drain(Draining& draining) {
  while (!draining.over) {
    if (draining.taken >= draining.allowed) {
      const auto slept = co_await sleep_for(draining.loop, std::chrono::milliseconds(1));
      if (!slept) co_return;
      continue;
    }
    ++draining.taken;
    draining.subscription.grant(1);
    const auto delivery = co_await draining.subscription.next({});
    if (!delivery) std::abort();
    const auto acked = co_await (*delivery)->ack();
    if (!acked) std::abort();
  }
}

}  // namespace

std::unique_ptr<Client> make_millrace(const std::string& url) {
  return std::make_unique<MillraceClient>(url);
}

LoopLag loop_lag(const std::string& url, std::uint64_t rate, double seconds) {
  constexpr std::uint64_t kTakers = 256;
  constexpr std::chrono::milliseconds kProbe{2};
  MillraceClient(url).publish(256, static_cast<std::uint64_t>(static_cast<double>(rate) * seconds) + kTakers);
  BrokerBench bench(nats_at(url));
  const auto subscription = bench.subscribe("t");
  Draining draining{.subscription = *subscription, .loop = bench.loop()};
  std::vector<double> lags_ms;
  TaskGroup takers(bench.loop());
  for (std::uint64_t i = 0; i < kTakers; ++i) takers.spawn(drain(draining));
  const auto start = Clock::now();
  for (;;) {
    const auto before = Clock::now();
    const double passed = std::chrono::duration<double>(before - start).count();
    if (passed >= seconds) break;
    draining.allowed = static_cast<std::uint64_t>(passed * static_cast<double>(rate));
    value_of(bench.await(sleep_for(bench.loop(), kProbe)));
    lags_ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - before - kProbe).count());
  }
  const double reached = static_cast<double>(draining.taken) / seconds;
  draining.over = true;
  value_of(bench.await([](TaskGroup& group) -> Task<Result<void>> {
    co_await group.join();
    co_return Result<void>{};
  }(takers)));
  std::ranges::sort(lags_ms);
  value_of(bench.await(bench.broker().purge("t", "g")));
  return {.p99_ms = lags_ms[lags_ms.size() * 99 / 100], .per_second = reached};
}

double idle_topics(const std::string& url, std::uint64_t topics, double seconds) {
  BrokerBench bench(nats_at(url));
  return idle_topics(bench, topics, seconds);
}

}  // namespace millrace::bench
