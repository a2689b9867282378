#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "async/sleep.h"
#include "async/task_group.h"
#include "async/uv_event_loop.h"
#include "bench/nats/rounds.h"
#include "broker/nats/nats_broker.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace::bench {
namespace {

using Clock = std::chrono::steady_clock;

Outgoing message(std::uint64_t number) {
  Outgoing message{.id = std::to_string(number), .event = {}, .delay = {}};
  message.event.id = EventId("0123456789abcdef0123456789abcdef");
  message.event.source = "bench";
  message.event.source_id = message.id;
  message.event.type = "bench";
  message.event.order = Order("01HZZZZZZZZZZZZZZZZZZZZZZZ");
  message.event.data = std::string(kMessageBytes, 'x');
  return message;
}

template <class T>
T value_of(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// A broker on a loop of its own that runs while something is awaited.
class Bench {
 public:
  explicit Bench(const std::string& url) {
    NatsBrokerOptions options;
    options.url = url;
    options.prefix = "bench";
    options.dead_bytes_max = 1 << 20;
    broker_ = value_of(await(open_nats_broker(std::move(options), loop_, metrics_, log_)));
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  template <class T>
  T await(Task<T> task) {
    std::optional<T> value;
    TaskGroup group(loop_);
    group.spawn(keep(std::move(task), value));
    loop_.run();
    return std::move(*value);
  }
  Broker& broker() { return *broker_; }
  UvEventLoop& loop() { return loop_; }

 private:
  template <class T>
  Task<void> keep(Task<T> task, std::optional<T>& value) {
    auto got = co_await std::move(task);
    value.emplace(std::move(got));
    loop_.stop();
  }

  UvEventLoop loop_;
  Metrics metrics_;
  Log log_{{.level = LogLevel::error}};
  std::unique_ptr<Broker> broker_;
};

class MillraceClient final : public Client {
 public:
  explicit MillraceClient(const std::string& url) : bench_(url) {
    value_of(bench_.await(bench_.broker().ensure({.name = "t", .groups = {"g"}})));
    subscription_ = value_of(bench_.await(bench_.broker().subscribe({.topic = "t", .group = "g"})));
  }

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

  Bench bench_;
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

double cpu_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
         static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

Task<void> wait_for_one(Subscription& subscription, std::stop_token stop) {
  const auto delivery = co_await subscription.next(stop);
  if (delivery) std::abort();
}

}  // namespace

std::unique_ptr<Client> make_millrace(const std::string& url) {
  return std::make_unique<MillraceClient>(url);
}

LoopLag loop_lag(const std::string& url, std::uint64_t rate, double seconds) {
  constexpr std::uint64_t kTakers = 256;
  constexpr std::chrono::milliseconds kProbe{2};
  MillraceClient(url).publish(256, static_cast<std::uint64_t>(static_cast<double>(rate) * seconds) + kTakers);
  Bench bench(url);
  const auto subscription = value_of(bench.await(bench.broker().subscribe({.topic = "t", .group = "g"})));
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
  Bench bench(url);
  std::vector<std::unique_ptr<Subscription>> subscriptions;
  std::stop_source stop;
  TaskGroup group(bench.loop());
  for (std::uint64_t i = 0; i < topics; ++i) {
    const std::string name = "idle" + std::to_string(i);
    value_of(bench.await(bench.broker().ensure({.name = name, .groups = {"g"}})));
    subscriptions.push_back(value_of(bench.await(bench.broker().subscribe({.topic = name, .group = "g"}))));
    subscriptions.back()->grant(1);
    group.spawn(wait_for_one(*subscriptions.back(), stop.get_token()));
  }
  const double before = cpu_seconds();
  const std::chrono::duration<double> span(seconds);
  value_of(bench.await(sleep_for(bench.loop(), std::chrono::duration_cast<EventLoop::Duration>(span))));
  const double used = cpu_seconds() - before;
  stop.request_stop();
  value_of(bench.await(sleep_for(bench.loop(), {})));
  return 100 * used / seconds;
}

}  // namespace millrace::bench
