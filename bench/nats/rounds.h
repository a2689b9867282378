// The same work by our broker on NATS and by a program on the bare client library: messages of 1 KiB through one stream
// with one durable consumer, `window` of them on their way at once. Both give every message an id that the server
// dedupes by, and both wait until the server has confirmed publishes and acks; the bare program has no leases, no
// attributes and nothing to survive for.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace millrace::bench {

class Client {
 public:
  Client() = default;
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  virtual ~Client() = default;

  virtual void publish(std::uint64_t window, std::uint64_t messages) = 0;
  virtual void consume(std::uint64_t window, std::uint64_t messages) = 0;
  virtual void both(std::uint64_t window, std::uint64_t messages) = 0;  // at the same time
  // One after the other: takes a message, writes a record of who works on it if nobody else did, acks.
  virtual void begin(std::uint64_t messages) = 0;
};

std::unique_ptr<Client> make_millrace(const std::string& url);
// `confirmed`: acks are requests whose answers are awaited, as ours are.
std::unique_ptr<Client> make_raw(const std::string& url, bool confirmed);

// 99th percentile of the loop's lag in milliseconds while `rate` messages a second are taken and acked out of a filled
// topic, and the rate that was reached.
struct LoopLag {
  double p99_ms = 0;
  double per_second = 0;
};
LoopLag loop_lag(const std::string& url, std::uint64_t rate, double seconds);

// Seconds for so many records of who works on a message, each confirmed before the next, by the bare client.
double put_records(const std::string& url, std::uint64_t records);

// Percent of a core that `topics` subscribed topics without messages cost this process.
double idle_topics(const std::string& url, std::uint64_t topics, double seconds);

}  // namespace millrace::bench
