#include <chrono>
#include <fstream>
#include <stdexcept>
#include <utility>

#include "async/task_group.h"
#include "bench/broker_bench.h"
#include "bench/log/queues.h"
#include "bench/message_bytes.h"
#include "broker/crc32c.h"
#include "broker/log/log_broker.h"

namespace millrace::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

auto log_in(std::filesystem::path directory) {
  return [directory = std::move(directory)](EventLoop& loop, Metrics& metrics, Log& log) {
    LogBrokerOptions options;
    options.directory = directory;
    return open_log_broker(std::move(options), loop, metrics, log);
  };
}

class MillraceQueue final : public Queue {
 public:
  explicit MillraceQueue(const std::filesystem::path& directory)
      : bench_(log_in(directory)), subscription_(bench_.subscribe("t")) {
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

  BrokerBench bench_;
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

}  // namespace

std::unique_ptr<Queue> make_millrace(const std::filesystem::path& directory) {
  return std::make_unique<MillraceQueue>(directory);
}

void fill_log(const std::filesystem::path& directory, std::uint64_t messages) {
  BrokerBench bench(log_in(directory));
  value_of(bench.await(bench.broker().ensure({.name = "t", .groups = {"g"}})));
  value_of(bench.await(publish_all(bench.broker(), messages)));
}

double open_log(const std::filesystem::path& directory, std::uint64_t expected) {
  const auto start = Clock::now();
  BrokerBench bench(log_in(directory));
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
  BrokerBench bench(log_in(directory));
  return idle_topics(bench, topics, seconds);
}

}  // namespace millrace::bench
