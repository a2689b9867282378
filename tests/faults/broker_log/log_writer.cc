// Publishes and acks on an embedded log as fast as it can, and tells on standard output what was confirmed, until it is
// killed. Usage: log_writer DIRECTORY FIRST_ID
//            or: log_writer DIRECTORY poison, which begins an attempt at one message and never ends it
//
// Lines: "p ID" published and confirmed; "s ID" an ack was sent; "a ID" that ack was confirmed; "b N" an attempt was
// begun after N lost ones.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

#include "async/sleep.h"
#include "async/task_group.h"
#include "async/uv_event_loop.h"
#include "broker/log/log_broker.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {
namespace {

constexpr int kTasks = 16;

// In one write, unbuffered: what was told before the kill has arrived.
void tell(char what, const std::string& id) {
  const std::string line = std::string(1, what) + " " + id + "\n";
  if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) std::exit(3);
}

Task<void> publish(Broker& broker, int& next_id) {
  for (;;) {
    const std::string id = std::to_string(next_id++);
    Outgoing message{.id = id, .event = {}, .delay = {}};
    message.event.id = EventId("0123456789abcdef0123456789abcdef");
    message.event.source = "writer";
    message.event.source_id = id;
    message.event.type = "test";
    message.event.data = std::string(static_cast<std::size_t>(next_id % 7) * 500, 'x');
    std::vector<Outgoing> batch;
    batch.push_back(std::move(message));
    const auto receipts = co_await broker.publish("t", std::move(batch));
    if (!receipts[0]) std::exit(4);
    tell('p', id);
  }
}

// Acks three of four; the others are given back for later.
Task<void> work(Broker& broker) {
  auto subscription = co_await broker.subscribe({.topic = "t", .group = "g"});
  if (!subscription) std::exit(5);
  for (;;) {
    (*subscription)->grant(1);
    const auto delivery = co_await (*subscription)->next({});
    if (!delivery) std::exit(6);
    const std::string id = (*delivery)->event().source_id;
    const auto begun = co_await (*delivery)->begin();
    if (!begun) std::exit(7);
    if (std::hash<std::string>{}(id) % 4 == 0) {
      const auto given = co_await (*delivery)->nak(std::chrono::hours(1), NakReason::failed);
      if (!given) std::exit(8);
      continue;
    }
    tell('s', id);
    const auto acked = co_await (*delivery)->ack();
    if (!acked) std::exit(9);
    tell('a', id);
  }
}

// As a worker does whom its message kills.
Task<void> die_of(UvEventLoop& loop, Broker& broker) {
  Outgoing message{.id = "poison", .event = {}, .delay = {}};
  message.event.data = "poison";
  std::vector<Outgoing> batch;
  batch.push_back(std::move(message));
  const auto receipts = co_await broker.publish("t", std::move(batch));
  if (!receipts[0]) std::exit(4);  // a repeat from the second time on
  auto subscription = co_await broker.subscribe({.topic = "t", .group = "g"});
  if (!subscription) std::exit(5);
  (*subscription)->grant(1);
  const auto delivery = co_await (*subscription)->next({});
  if (!delivery) std::exit(6);
  const auto counters = co_await (*delivery)->begin();
  if (!counters) std::exit(7);
  tell('b', std::to_string(counters->losses));
  for (;;) {
    co_await sleep_for(loop, std::chrono::seconds(5));
    const auto extended = co_await (*delivery)->extend();
    if (!extended) std::exit(8);
  }
}

Task<void> run(UvEventLoop& loop, std::string directory, std::string what, Metrics& metrics, Log& log) {
  LogBrokerOptions options;
  options.directory = directory;
  options.segment_bytes = 1 << 20;  // so that segments are changed, compacted and recycled all the time
  auto broker = co_await open_log_broker(options, loop, metrics, log);
  if (!broker) {
    std::fprintf(stderr, "%s\n", broker.error().message.c_str());
    std::exit(10);
  }
  const auto made = co_await (*broker)->ensure({.name = "t", .groups = {"g"}});
  if (!made) std::exit(11);
  if (what == "poison") co_await die_of(loop, **broker);
  int first_id = std::atoi(what.c_str());
  TaskGroup group(loop);
  for (int i = 0; i < kTasks; ++i) {
    group.spawn(publish(**broker, first_id));
    group.spawn(work(**broker));
  }
  co_await group.join();
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  millrace::UvEventLoop loop;
  millrace::Metrics metrics;
  millrace::Log log{{.level = millrace::LogLevel::error}};
  millrace::TaskGroup group(loop);
  group.spawn(millrace::run(loop, argv[1], argv[2], metrics, log));
  loop.run();
}
