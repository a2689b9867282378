// The embedded log beside a bare append loop: durable enqueue, read and ack of 1 KiB messages, with 1, 16 and 256 at a
// time on their way. The bare loop does the same disk work with none of the semantics: one committer thread that takes
// everything queued, writes it to preallocated blocks and syncs; a producer and consumer that read the payload back
// from memory and queue an ack.
//
//   build/release/bench/bench_broker_log --benchmark_counters_tabular=true       (MILLRACE_BENCH_DIR: where to write)
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "async/task_group.h"
#include "async/uv_event_loop.h"
#include "broker/crc32c.h"
#include "broker/log/log_broker.h"
#include "broker/memory/memory_broker.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {
namespace {

// As many as take about the same time at each window.
int messages_for(std::int64_t window) {
  return static_cast<int>(std::min<std::int64_t>(1000 * window, 50'000));
}

constexpr std::size_t kPayload = 1024;

std::filesystem::path scratch() {
  const char* base = std::getenv("MILLRACE_BENCH_DIR");
  std::string name = (std::filesystem::path(base != nullptr ? base : "/tmp") / "millrace-bench-XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
  return name;
}

// What nobody can do without: records with a checksum, group commit, one sync for all that is queued.
class RawLog {
 public:
  explicit RawLog(const std::filesystem::path& directory) {
    fd_ = ::open((directory / "raw").c_str(), O_RDWR | O_CREAT, 0600);
    const std::string zeros(1 << 20, '\0');
    for (int i = 0; i < kSegmentMiB; ++i) {
      if (::write(fd_, zeros.data(), zeros.size()) < 0) throw std::runtime_error("cannot fill the raw log");
    }
    ::fsync(fd_);
    thread_ = std::thread([this] { work(); });
  }
  ~RawLog() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    wake_.notify_all();
    thread_.join();
    ::close(fd_);
  }
  RawLog(const RawLog&) = delete;
  RawLog& operator=(const RawLog&) = delete;

  // Returns the record's number; wait() for it.
  std::uint64_t append(std::string_view payload) {
    const std::lock_guard lock(mutex_);
    const std::uint32_t head[2] = {crc32c(payload), static_cast<std::uint32_t>(payload.size())};
    queue_.append(reinterpret_cast<const char*>(head), sizeof head).append(payload);
    queue_.resize((queue_.size() + 7) & ~std::size_t{7});
    return ++queued_;
  }
  void flush() {
    {
      const std::lock_guard lock(mutex_);
      flushed_ = true;
    }
    wake_.notify_one();
  }
  std::uint64_t wait(std::uint64_t more_than) {
    std::unique_lock lock(mutex_);
    safe_changed_.wait(lock, [&] { return safe_ > more_than; });
    return safe_;
  }

 private:
  static constexpr int kSegmentMiB = 64;

  void work() {
    std::string batch;
    std::uint64_t upto = 0;
    off_t at = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        safe_ = upto;
        safe_changed_.notify_all();
        wake_.wait(lock, [&] { return flushed_ || closing_; });
        if (closing_) return;
        flushed_ = false;
        batch.clear();
        batch.swap(queue_);
        upto = queued_;
      }
      if (at + static_cast<off_t>(batch.size()) > (kSegmentMiB << 20)) at = 0;
      if (::pwrite(fd_, batch.data(), batch.size(), at) < 0 || ::fdatasync(fd_) != 0) std::abort();
      at += static_cast<off_t>(batch.size());
    }
  }

  int fd_ = -1;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable safe_changed_;
  std::string queue_;
  std::uint64_t queued_ = 0;
  std::uint64_t safe_ = 0;
  bool flushed_ = false;
  bool closing_ = false;
  std::thread thread_;
};

void raw_append_loop(benchmark::State& state) {
  const auto directory = scratch();
  const auto window = static_cast<std::uint64_t>(state.range(0));
  const auto messages = static_cast<std::uint64_t>(messages_for(state.range(0)));
  const std::string payload(kPayload, 'x');
  {
    RawLog log(directory);
    for (auto _ : state) {
      // Each confirmed message is "consumed" by queueing its ack; as many messages as fit the window are on their way.
      std::uint64_t sent = 0;
      std::uint64_t records = log.append("warm");
      std::uint64_t seen = records - 1;
      std::vector<bool> is_message(1, false);
      std::uint64_t in_flight = 0;
      std::uint64_t done = 0;
      const std::uint64_t first = records;
      while (done < messages) {
        for (; in_flight < window && sent < messages; ++sent, ++in_flight) {
          log.append(payload);
          is_message.push_back(true);
        }
        log.flush();
        const std::uint64_t safe = log.wait(seen);
        for (std::uint64_t i = seen + 1; i <= safe; ++i) {
          if (i <= first) continue;
          if (is_message[i - first]) {
            benchmark::DoNotOptimize(crc32c(payload));
            log.append("ack of one message, 40 bytes with head");
            is_message.push_back(false);
          } else {
            ++done;
            --in_flight;
          }
        }
        seen = safe;
      }
    }
  }
  state.SetItemsProcessed(state.iterations() * messages_for(state.range(0)));
  std::filesystem::remove_all(directory);
}

Outgoing make_message(int number) {
  Outgoing message{.id = std::to_string(number), .event = {}, .delay = {}};
  message.event.id = EventId("0123456789abcdef0123456789abcdef");
  message.event.source = "bench";
  message.event.source_id = message.id;
  message.event.type = "bench";
  message.event.order = Order("01HZZZZZZZZZZZZZZZZZZZZZZZ");
  message.event.data = std::string(kPayload, 'x');
  return message;
}

struct Run {
  Broker& broker;
  Subscription& subscription;
  int next_id = 0;
  int left = 0;
};

// One message at a time from its publish to its ack.
Task<void> work(Run& run) {
  while (run.left > 0) {
    --run.left;
    std::vector<Outgoing> one;
    one.push_back(make_message(run.next_id++));
    const auto receipts = co_await run.broker.publish("t", std::move(one));
    if (!receipts[0]) std::abort();
    run.subscription.grant(1);
    const auto delivery = co_await run.subscription.next({});
    if (!delivery) std::abort();
    benchmark::DoNotOptimize((*delivery)->event().data.data());
    const auto acked = co_await (*delivery)->ack();
    if (!acked) std::abort();
  }
}

Task<void> run_broker(UvEventLoop& loop, Run& run, int window, int messages) {
  run.left = messages;
  TaskGroup group(loop);
  for (int i = 0; i < window; ++i) group.spawn(work(run));
  co_await group.join();
  loop.stop();
}

Task<void> prepare(UvEventLoop& loop, Broker& broker, std::unique_ptr<Subscription>& subscription) {
  const auto made = co_await broker.ensure({.name = "t", .groups = {"g"}});
  if (!made) std::abort();
  auto subscribed = co_await broker.subscribe({.topic = "t", .group = "g"});
  if (!subscribed) std::abort();
  subscription = std::move(*subscribed);
  loop.stop();
}

Task<void> open_all(UvEventLoop& loop, LogBrokerOptions options, Metrics& metrics, Log& log,
                    std::unique_ptr<Broker>& broker, std::unique_ptr<Subscription>& subscription) {
  auto opened = co_await open_log_broker(std::move(options), loop, metrics, log);
  if (!opened) std::abort();
  broker = std::move(*opened);
  co_await prepare(loop, *broker, subscription);
}

void log_broker(benchmark::State& state) {
  const auto directory = scratch();
  {
    UvEventLoop loop;
    Metrics metrics;
    Log log{{.level = LogLevel::error}};
    std::unique_ptr<Broker> broker;
    std::unique_ptr<Subscription> subscription;
    LogBrokerOptions options;
    options.directory = directory / "log";
    TaskGroup group(loop);
    group.spawn(open_all(loop, options, metrics, log, broker, subscription));
    loop.run();
    Run run{.broker = *broker, .subscription = *subscription};
    // Until segments are used again: making the first ones writes as much as the messages do.
    group.spawn(run_broker(loop, run, 256, 200'000));
    loop.run();
    auto& commit_count = metrics.counter("millrace_log_commits_total", "");
    auto& commit_time = metrics.histogram("millrace_log_commit_seconds", "");
    const auto commits_before = commit_count.value();
    const auto us_before = commit_time.sum_us();
    for (auto _ : state) {
      group.spawn(run_broker(loop, run, static_cast<int>(state.range(0)), messages_for(state.range(0))));
      loop.run();
    }
    subscription.reset();
    broker.reset();
    const auto commits = static_cast<double>(commit_count.value() - commits_before);
    state.counters["messages_per_commit"] =
        static_cast<double>(state.iterations()) * messages_for(state.range(0)) / commits;
    state.counters["us_per_commit"] = static_cast<double>(commit_time.sum_us() - us_before) / commits;
  }
  state.SetItemsProcessed(state.iterations() * messages_for(state.range(0)));
  std::filesystem::remove_all(directory);
}

// The part that the loop does: its CPU time per message is what the log broker's cannot go below.
void memory_broker(benchmark::State& state) {
  UvEventLoop loop;
  Metrics metrics;
  const auto broker = make_memory_broker({}, loop, metrics);
  std::unique_ptr<Subscription> subscription;
  TaskGroup group(loop);
  group.spawn(prepare(loop, *broker, subscription));
  loop.run();
  Run run{.broker = *broker, .subscription = *subscription};
  for (auto _ : state) {
    group.spawn(run_broker(loop, run, static_cast<int>(state.range(0)), messages_for(state.range(0))));
    loop.run();
  }
  state.SetItemsProcessed(state.iterations() * messages_for(state.range(0)));
}

BENCHMARK(memory_broker)->Arg(256)->Unit(benchmark::kMillisecond);
BENCHMARK(raw_append_loop)->Arg(1)->Arg(16)->Arg(256)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(log_broker)->Arg(1)->Arg(16)->Arg(256)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace millrace
