// The connection to the servers: what is sent and what comes, without a word of what it means.
//
//   auto link = co_await Link::open(loop, options, log);
//   auto answer = co_await (*link)->request({.subject = "orders.count"}, 2s);      // a Result<Message>
//   const std::string inbox = (*link)->listen([this](Message message) { ... });    // on the loop
//
// The client library brings threads of its own. What they hear is collected and hops to the loop with one wake-up for
// all that came meanwhile; what is sent leaves by a thread of ours, since the library may block on a full socket. A
// connection that breaks is made again for ever, with jitter, also one that the servers ended because they refuse our
// login by now; requests that were on their way fail with `unavailable` at once, later ones wait for the new connection
// as long as their time allows.
//
// Thread: the loop's.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/task.h"
#include "async/task_group.h"
#include "broker/nats/nats_options.h"
#include "broker/nats/server_info.h"
#include "broker/wait_list.h"
#include "core/error.h"
#include "formats/event_codec.h"
#include "telemetry/log.h"

struct __natsMsg;  // NOLINT(bugprone-reserved-identifier): the library's name

namespace millrace::nats {

// One message that came, as the library holds it.
class Message {
 public:
  explicit Message(__natsMsg* message) : message_(message) {}

  [[nodiscard]] std::string_view subject() const;
  [[nodiscard]] std::string_view reply() const;  // empty: none
  [[nodiscard]] std::string_view data() const;
  [[nodiscard]] std::optional<std::string> header(const char* name) const;
  [[nodiscard]] Headers headers() const;  // as they came, percent signs and all
  // Of a message that the server itself sent instead of an answer: 404, 503, ...; 0: it is none.
  [[nodiscard]] int status() const;
  [[nodiscard]] std::size_t size_bytes() const;  // about what it takes in memory

 private:
  struct Destroy {
    void operator()(__natsMsg* message) const;
  };
  std::unique_ptr<__natsMsg, Destroy> message_;
};

struct Packet {
  std::string subject;
  std::string reply{};
  Headers headers{};  // values are sent percent-encoded
  std::string data{};
};

class Link {
 public:
  struct Arrivals;  // link_client.h

  // Waits for a server for `options.connect_for`. Errors: invalid_argument (a URL, a file that cannot be read),
  // permission_denied (the server knows us not), failed_precondition (its version), unavailable. `news`: subjects to
  // hear beside our own, see on_news().
  [[nodiscard]] static Task<Result<std::unique_ptr<Link>>> open(EventLoop& loop, NatsBrokerOptions options, Log& log,
                                                                std::vector<std::string> news = {});
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link();

  // False when it cannot be taken, because too much waits to be sent or the link is closed.
  [[nodiscard]] bool send(Packet packet);
  // The answer to a packet, whose `reply` is not used. Errors: unavailable (the connection broke), not_found (nobody
  // listens there), deadline_exceeded, too_large. No answer does not mean that nothing happened.
  [[nodiscard]] Task<Result<Message>> request(std::shared_ptr<const Packet> packet, std::chrono::milliseconds timeout);
  [[nodiscard]] Task<Result<Message>> request(Packet packet, std::chrono::milliseconds timeout) {
    return request(std::make_shared<const Packet>(std::move(packet)), timeout);
  }

  // Makes a subject to which the deliveries of a consumer can be sent, and what the server says of them; `on_message`
  // runs on the loop, in the order of arrival. A delivery comes under the subject it was published with, so it is known
  // by where its ack goes: `consumer` is "<stream>.<consumer>".
  [[nodiscard]] std::string listen(const std::string& consumer, std::function<void(Message)> on_message);
  void unlisten(const std::string& consumer);

  [[nodiscard]] bool connected() const { return connected_; }
  [[nodiscard]] bool closed() const { return closed_; }
  // False when it is not connected, or was not so long ago.
  [[nodiscard]] bool steady_for(std::chrono::milliseconds span) const;
  [[nodiscard]] Task<void> wait_connected(std::stop_token stop);  // returns at once when it is, or is closed
  void on_reconnected(std::function<void()> told) { reconnected_ = std::move(told); }
  void on_news(std::function<void(const Message&)> told) { news_ = std::move(told); }
  // So many messages that came were thrown away, since more waited for the loop than `receive_bytes_max`. Deliveries
  // come again when their leases at the server have run out; news are gone. Answers are not among them: whoever waits
  // for one gets `unavailable`.
  void on_dropped(std::function<void(std::size_t)> told) { dropped_ = std::move(told); }

  [[nodiscard]] std::size_t payload_bytes_max() const { return payload_bytes_max_; }
  // Of the server that we came to first; nothing: it did not say.
  [[nodiscard]] const std::optional<ServerInfo>& server() const { return server_; }

  // Lets go of the connection at once, blocking for a moment: for a broker that was not closed.
  void abandon();
  // Sends what waits and lets go of the connection. Everything that still waits for an answer fails.
  [[nodiscard]] Task<void> close();

 private:
  class Sender;
  class Client;
  class Waiting;

  Link(EventLoop& loop, NatsBrokerOptions options, Log& log, std::vector<std::string> news);
  [[nodiscard]] Task<Result<std::shared_ptr<Client>>> try_connect();
  [[nodiscard]] Task<Result<void>> connect();
  // After the library gave up. What waits to be sent is lost; who waits for an answer knows it.
  [[nodiscard]] Task<void> connect_anew();
  void take();  // what came
  void dispatch(Message message);
  void changed(int change);
  void cut();  // nothing is sent or heard any more
  void fail_all(const std::string& why);
  void look_at_deadlines();

  EventLoop& loop_;
  const NatsBrokerOptions options_;
  Log& log_;
  BlockingPool pool_;  // connecting and closing block
  const std::string inbox_;
  const std::vector<std::string> news_subjects_;
  std::shared_ptr<Arrivals> arrivals_;
  std::unique_ptr<EventLoop::Handle> rest_;  // of what came and was too much for one turn
  std::shared_ptr<Client> client_;
  std::shared_ptr<Sender> sender_;
  std::unordered_map<std::uint64_t, OneShot<Result<Message>>> waiting_;
  // When their time is over, by token: one timer for all, since nearly all are answered long before.
  std::set<std::pair<EventLoop::TimePoint, std::uint64_t>> deadlines_;
  std::unique_ptr<EventLoop::Handle> deadline_timer_;
  EventLoop::TimePoint deadline_timer_at_{};
  struct Listener {
    std::string inbox;  // without what all have in common
    std::function<void(Message)> on_message;
  };
  std::map<std::string, std::shared_ptr<Listener>, std::less<>> listeners_;  // by inbox, and by consumer
  std::uint64_t next_token_ = 0;
  std::uint64_t next_inbox_ = 0;
  WaitList connected_waits_;
  std::function<void()> reconnected_;
  std::function<void(const Message&)> news_;
  std::function<void(std::size_t)> dropped_;
  bool connected_ = false;
  bool closed_ = false;
  std::string refused_;  // why the servers take us no more; empty: they do
  std::optional<EventLoop::TimePoint> reconnected_at_;
  std::size_t payload_bytes_max_ = 0;
  std::optional<ServerInfo> server_;
  TaskGroup connecting_;
};

// "<stream>.<consumer>" out of the subject that an ack goes to; empty when it is none.
[[nodiscard]] std::string_view consumer_of(std::string_view ack_subject);

// Header values as NATS can carry them: printable ASCII, everything else as %XY.
[[nodiscard]] std::string percent_encode(std::string_view text);
[[nodiscard]] std::string percent_decode(std::string_view text);  // what is no %XY stays

}  // namespace millrace::nats
