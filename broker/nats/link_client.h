// The part of a link that touches the client library's threads. Private to link.cc and link_client.cc.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "broker/nats/link.h"

struct __natsConnection;    // NOLINT(bugprone-reserved-identifier): the library's names
struct __natsSubscription;  // NOLINT(bugprone-reserved-identifier)

namespace millrace::nats {

enum class Change : std::uint8_t { disconnected, reconnected, closed };

// Where the library's threads leave what they hear. Any thread puts; the loop takes. What waits for the loop is bounded
// by bytes, since anybody who may publish may send to us: beyond the bound an answer becomes a failure for whoever
// waits for it, and everything else is dropped and counted (a delivery comes again).
struct Link::Arrivals : std::enable_shared_from_this<Link::Arrivals> {
 public:
  struct Batch {
    std::vector<Message> messages;
    std::vector<int> changes;
    std::vector<std::pair<std::string, Error>> failures;  // the reply subjects of what got no answer
    std::size_t dropped = 0;
  };
  static constexpr std::size_t kFailuresMax = 100'000;
  static constexpr std::size_t kChangesMax = 64;

  // `answers`: how the subjects of answers begin.
  Arrivals(EventLoop& loop, std::string answers, std::size_t bytes_max, std::function<void()> on_arrival)
      : loop_(&loop), answers_(std::move(answers)), bytes_max_(bytes_max), on_arrival_(std::move(on_arrival)) {}

  void put(Message message);
  void put(Change change);
  void put_failure(std::string reply, Error error);

  [[nodiscard]] Batch take(std::size_t messages_max);  // on the loop; more is told of in a step of its own
  void stop();                                         // on the loop: nobody is told any more

 private:
  void wake_locked();
  void fail_locked(std::string reply, Error error);

  std::mutex mutex_;  // guards all below but on_arrival_ and what is const
  EventLoop* loop_;   // null once stopped
  const std::string answers_;
  const std::size_t bytes_max_;
  bool told_ = false;
  std::deque<Message> messages_;
  std::size_t bytes_ = 0;  // of messages_
  std::size_t dropped_ = 0;
  std::vector<int> changes_;
  std::vector<std::pair<std::string, Error>> failures_;
  std::function<void()> on_arrival_;  // the loop's
};

// The library's connection and our subscriptions.
class Link::Client {
 public:
  // Blocks. `unavailable` when no server answers.
  [[nodiscard]] static Result<std::shared_ptr<Client>> connect(const NatsBrokerOptions& options,
                                                               const std::shared_ptr<Arrivals>& arrivals,
                                                               const std::vector<std::string>& subjects);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { close(); }

  [[nodiscard]] Result<void> publish(const Packet& packet);  // may block, for as long as the socket is full
  [[nodiscard]] std::size_t payload_bytes_max() const;
  void close();  // blocks; sends what the library still holds

 private:
  Client() = default;
  [[nodiscard]] Result<void> subscribe(const std::string& subject, const std::shared_ptr<Arrivals>& arrivals);

  __natsConnection* connection_ = nullptr;
  std::vector<__natsSubscription*> subscriptions_;
};

// The thread that sends.
class Link::Sender {
 public:
  Sender(std::shared_ptr<Client> client, std::shared_ptr<Arrivals> arrivals, std::size_t bytes_max);
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;
  ~Sender() { finish(); }

  // Sends what waits, and ends. Blocks.
  void finish();

  [[nodiscard]] bool send(Packet packet);

 private:
  void run();

  std::shared_ptr<Client> client_;
  std::shared_ptr<Arrivals> arrivals_;
  const std::size_t bytes_max_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable wake_;
  std::deque<Packet> queue_;
  std::size_t queued_bytes_ = 0;
  bool closing_ = false;
  std::jthread thread_;
};

}  // namespace millrace::nats
