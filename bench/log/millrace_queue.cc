#include <sys/resource.h>

#include <chrono>
#include <fstream>
#include <optional>
#include <stdexcept>
#include <utility>

#include "async/sleep.h"
#include "async/task_group.h"
#include "async/uv_event_loop.h"
#include "bench/log/queues.h"
#include "broker/crc32c.h"
#include "broker/log/log_broker.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

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
  explicit Bench(std::filesystem::path directory) {
    LogBrokerOptions options;
    options.directory = std::move(directory);
    broker_ = value_of(await(open_log_broker(std::move(options), loop_, metrics_, log_)));
  }
  ~Bench() { broker_.reset(); }
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

class MillraceQueue final : public Queue {
 public:
  explicit MillraceQueue(const std::filesystem::path& directory) : bench_(directory) {
    value_of(bench_.await(bench_.broker().ensure({.name = "t", .groups = {"g"}})));
    subscription_ = value_of(bench_.await(bench_.broker().subscribe({.topic = "t", .group = "g"})));
    // Until segments are used again: making the first ones writes as much as the messages do.
    run(256, 200'000, nullptr);
  }
  ~MillraceQueue() override { subscription_.reset(); }

  void run(std::uint64_t window, std::uint64_t messages, std::vector<double>* latencies_us) override {
    left_ = messages;
    latencies_us_ = latencies_us;
    value_of(bench_.await(all(window)));
  }

 private:
  Task<Result<void>> all(std::uint64_t window) {
    TaskGroup group(bench_.loop());
    for (std::uint64_t i = 0; i < window; ++i) group.spawn(worker());
    co_await group.join();
    co_return Result<void>{};
  }

  // One message at a time from its publish to its ack.
  Task<void> worker() {
    while (left_ > 0) {
      --left_;
      const auto start = Clock::now();
      std::vector<Outgoing> one;
      one.push_back(message(next_++));
      const auto receipts = co_await bench_.broker().publish("t", std::move(one));
      if (!receipts[0]) std::abort();
      subscription_->grant(1);
      const auto delivery = co_await subscription_->next({});
      if (!delivery || (*delivery)->event().data.size() != kMessageBytes) std::abort();
      const auto acked = co_await (*delivery)->ack();
      if (!acked) std::abort();
      if (latencies_us_ != nullptr) latencies_us_->push_back(seconds_since(start) * 1e6);
    }
  }

  Bench bench_;
  std::unique_ptr<Subscription> subscription_;
  std::uint64_t next_ = 0;
  std::uint64_t left_ = 0;
  std::vector<double>* latencies_us_ = nullptr;
};

Task<Result<void>> publish_all(Broker& broker, std::uint64_t messages) {
  constexpr std::uint64_t kBatch = 500;
  for (std::uint64_t sent = 0; sent < messages;) {
    std::vector<Outgoing> batch;
    for (; sent < messages && batch.size() < kBatch; ++sent) batch.push_back(message(sent));
    const auto receipts = co_await broker.publish("t", std::move(batch));
    for (const auto& receipt : receipts) {
      if (!receipt) co_return fail(receipt.error());
    }
  }
  co_return Result<void>{};
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

std::unique_ptr<Queue> make_millrace(const std::filesystem::path& directory) {
  return std::make_unique<MillraceQueue>(directory);
}

void fill_log(const std::filesystem::path& directory, std::uint64_t messages) {
  Bench bench(directory);
  value_of(bench.await(bench.broker().ensure({.name = "t", .groups = {"g"}})));
  value_of(bench.await(publish_all(bench.broker(), messages)));
}

double open_log(const std::filesystem::path& directory, std::uint64_t expected) {
  const auto start = Clock::now();
  Bench bench(directory);
  const double seconds = seconds_since(start);
  const Lag lag = value_of(bench.await(bench.broker().lag("t", "g")));
  if (lag.pending != expected) throw std::runtime_error("messages are missing: " + std::to_string(lag.pending));
  return seconds;
}

double checksum_files(const std::filesystem::path& directory) {
  std::vector<char> buffer(1 << 20);
  std::uint32_t sum = 0;
  const auto start = Clock::now();
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    std::ifstream file(entry.path(), std::ios::binary);
    while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || file.gcount() > 0) {
      sum ^= crc32c({buffer.data(), static_cast<std::size_t>(file.gcount())});
    }
  }
  const double seconds = seconds_since(start);
  if (sum == 0) throw std::runtime_error("nothing was read");
  return seconds;
}

double idle_topics(const std::filesystem::path& directory, std::uint64_t topics, double seconds) {
  Bench bench(directory);
  std::vector<std::unique_ptr<Subscription>> subscriptions;
  std::stop_source stop;
  TaskGroup group(bench.loop());
  for (std::uint64_t i = 0; i < topics; ++i) {
    const std::string name = "t" + std::to_string(i);
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
