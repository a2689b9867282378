// The part of a link that touches the client library's threads. Private to link.cc and link_client.cc.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
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
    bool more = false;  // wait, of which nobody is told again: take() is to be called once more
  };
  static constexpr std::size_t kFailuresMax = 100'000;
  static constexpr std::size_t kChangesMax = 64;

  // `answers`: how the subjects of answers begin.
  Arrivals(EventLoop& loop, std::string answers, std::size_t bytes_max, std::function<void()> on_arrival)
      : loop_(&loop), answers_(std::move(answers)), bytes_max_(bytes_max), on_arrival_(std::move(on_arrival)) {}

  void put(Message message);
  void put(Change change);
  void put_failure(std::string reply, Error error);

  [[nodiscard]] Batch take(std::size_t messages_max);  // on the loop
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
  // Blocks. `unavailable` when no server answers, `failed_precondition` when it is too old.
  [[nodiscard]] static Result<std::shared_ptr<Client>> connect(const NatsBrokerOptions& options,
                                                               const std::shared_ptr<Arrivals>& arrivals,
                                                               const std::vector<std::string>& subjects);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { close(); }

  [[nodiscard]] Result<void> publish(const Packet& packet,
                                     const std::string& reply);  // may block, for as long as the socket is full
  [[nodiscard]] std::size_t payload_bytes_max() const;
  [[nodiscard]] const std::optional<ServerInfo>& server() const { return server_; }
  void close();  // blocks; sends what the library still holds

 private:
  Client() = default;
  [[nodiscard]] Result<void> subscribe(const std::string& subject, const std::shared_ptr<Arrivals>& arrivals);

  __natsConnection* connection_ = nullptr;
  std::optional<ServerInfo> server_;  // the one that was connected first
  std::vector<__natsSubscription*> subscriptions_;
};

// The thread that sends. What the loop sends in one of its turns is handed over at once, since waking a thread costs
// more than to send a small message.
class Link::Sender : public std::enable_shared_from_this<Link::Sender> {
 public:
  Sender(EventLoop& loop, std::shared_ptr<Client> client, std::shared_ptr<Arrivals> arrivals, std::size_t bytes_max);
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;
  ~Sender() { finish(); }

  // On the loop; false when too much waits. The packet's own `reply` is not used.
  [[nodiscard]] bool send(std::shared_ptr<const Packet> packet, std::string reply);
  void hand_over();  // on the loop: what was sent since the last time
  // Sends what was handed over, and ends. Blocks.
  void finish();

 private:
  struct Sending {
    std::shared_ptr<const Packet> packet;
    std::string reply;
  };
  [[nodiscard]] static std::size_t size_of(const Sending& sending);
  void run();

  EventLoop& loop_;
  std::shared_ptr<Client> client_;
  std::shared_ptr<Arrivals> arrivals_;
  const std::size_t bytes_max_;
  std::vector<Sending> collected_;             // the loop's
  std::atomic<std::size_t> waiting_bytes_{0};  // of all that is not sent
  std::mutex mutex_;                           // guards what follows
  std::condition_variable wake_;
  std::vector<Sending> queue_;
  bool closing_ = false;
  std::jthread thread_;
};

}  // namespace millrace::nats
