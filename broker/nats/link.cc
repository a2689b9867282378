#include "broker/nats/link.h"

#include <nats/nats.h>

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "async/sleep.h"
#include "broker/nats/link_client.h"
#include "core/ids.h"

namespace millrace::nats {
namespace {

constexpr std::size_t kDispatchMax = 64;  // in one turn of the loop: about a millisecond
constexpr std::chrono::milliseconds kFirstRetry{100};
constexpr std::chrono::milliseconds kRetryMax{2000};
// Times `reconnect_wait`: how long a client that is refused waits, doubled from try to try.
constexpr int kRefusedWait = 4;
constexpr int kRefusedWaitMax = 60;

// Of a request, out of the last token of its reply subject; 0: none has it.
std::uint64_t token_of(std::string_view text) {
  std::uint64_t token = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), token);
  return error == std::errc{} && end == text.data() + text.size() ? token : 0;
}

}  // namespace

// Keeps a request's entry for as long as its frame exists.
class Link::Waiting {
 public:
  Waiting(Link& link, std::uint64_t token, const OneShot<Result<Message>>& answer, EventLoop::TimePoint deadline)
      : link_(link), token_(token), deadline_(deadline) {
    link_.waiting_.emplace(token, answer);
    link_.deadlines_.emplace(deadline, token);
    if (!link_.deadline_timer_ || deadline < link_.deadline_timer_at_) link_.look_at_deadlines();
  }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;
  ~Waiting() {
    link_.waiting_.erase(token_);
    link_.deadlines_.erase({deadline_, token_});
  }

 private:
  Link& link_;
  std::uint64_t token_;
  EventLoop::TimePoint deadline_;
};

Link::Link(EventLoop& loop, NatsBrokerOptions options, Log& log, std::vector<std::string> news)
    : loop_(loop),
      options_(std::move(options)),
      log_(log),
      pool_(loop, BlockingPool::Options{.threads = 1, .queued_max = 4}),
      inbox_("_INBOX." + random_hex(12)),
      news_subjects_(std::move(news)),
      arrivals_(std::make_shared<Arrivals>(loop, inbox_ + ".r.", options_.receive_bytes_max, [this] { take(); })),
      connected_waits_(loop),
      connecting_(loop) {}

Link::~Link() {
  abandon();
}

Task<Result<std::unique_ptr<Link>>> Link::open(EventLoop& loop, NatsBrokerOptions options, Log& log,
                                               std::vector<std::string> news) {
  if (auto ok = check_nats_url(options.url); !ok) co_return fail(ok.error());
  std::unique_ptr<Link> link(new Link(loop, std::move(options), log, std::move(news)));
  auto connected = co_await link->connect();
  if (!connected) co_return fail(connected.error());
  co_return link;
}

Task<Result<std::shared_ptr<Link::Client>>> Link::try_connect() {
  std::vector<std::string> subjects = news_subjects_;
  subjects.insert(subjects.begin(), inbox_ + ".>");
  auto client = co_await pool_.run([options = options_, arrivals = arrivals_, subjects = std::move(subjects)] {
    return Client::connect(options, arrivals, subjects);
  });
  co_return client;
}

Task<void> Link::connect_anew() {
  std::chrono::milliseconds pause = kRefusedWait * options_.reconnect_wait;
  for (bool told = false;;) {
    const auto slept = co_await sleep_for(loop_, pause, connecting_.stop_token());
    if (!slept || closed_) co_return;
    auto client = co_await try_connect();
    if (closed_) co_return;
    if (client) {
      const auto sender = std::move(sender_);
      sender->hand_over();
      auto old = std::exchange(client_, std::move(*client));
      sender_ = std::make_shared<Sender>(loop_, client_, arrivals_, options_.send_bytes_max);
      refused_.clear();
      changed(static_cast<int>(Change::reconnected));
      [[maybe_unused]] const auto gone = co_await pool_.run([sender, old = std::move(old)]() mutable -> Result<void> {
        sender->finish();
        old->close();
        return {};
      });
      co_return;
    }
    const bool login = client.error().code == Errc::permission_denied;
    if (login) refused_ = client.error().message;
    if (login && !std::exchange(told, true)) {
      log_.error("the NATS server takes this client no more; trying again now and then", {{"error", client.error()}});
    }
    pause = std::min(pause * 2, kRefusedWaitMax * options_.reconnect_wait);
  }
}

Task<Result<void>> Link::connect() {
  const auto until = loop_.now() + options_.connect_for;
  std::chrono::milliseconds pause = kFirstRetry;
  for (bool first = true;; first = false) {
    auto client = co_await try_connect();
    if (client) {
      client_ = std::move(*client);
      break;
    }
    const Error& error = client.error();
    if (error.code != Errc::unavailable || loop_.now() >= until) co_return fail(error);
    if (first) {
      log_.warn(
          "the NATS server does not answer yet",
          {{"url", shown_nats_url(options_.url)}, {"waiting_ms", options_.connect_for.count()}, {"error", error}});
    }
    const auto slept = co_await sleep_for(loop_, pause);
    if (!slept) co_return fail(slept.error());
    pause = std::min(pause * 2, kRetryMax);
  }
  payload_bytes_max_ = client_->payload_bytes_max();
  server_ = client_->server();
  sender_ = std::make_shared<Sender>(loop_, client_, arrivals_, options_.send_bytes_max);
  connected_ = true;
  co_return Result<void>{};
}

bool Link::send(Packet packet) {
  std::string reply = std::move(packet.reply);
  return !closed_ && sender_ && sender_->send(std::make_shared<const Packet>(std::move(packet)), std::move(reply));
}

Task<Result<Message>> Link::request(std::shared_ptr<const Packet> packet, std::chrono::milliseconds timeout) {
  if (closed_) co_return fail(Errc::unavailable, "the connection to the NATS server is closed");
  if (!refused_.empty()) co_return fail(Errc::unavailable, refused_);
  const std::uint64_t token = ++next_token_;
  const OneShot<Result<Message>> answer(loop_);
  const Waiting waiting(*this, token, answer, loop_.now() + timeout);
  if (!sender_ || !sender_->send(std::move(packet), inbox_ + ".r." + std::to_string(token))) {
    co_return fail(Errc::unavailable, "more than " + std::to_string(options_.send_bytes_max) +
                                          " bytes wait to be sent to the NATS server");
  }
  auto result = co_await answer.wait();
  if (!result && result.error().code == Errc::deadline_exceeded) {
    result.error() = {.code = connected_ ? Errc::deadline_exceeded : Errc::unavailable,
                      .message = "the NATS server at " + shown_nats_url(options_.url) + " did not answer within " +
                                 std::to_string(timeout.count()) + " ms"};
  }
  if (result && result->status() == 503) {
    co_return fail(Errc::not_found, "nobody listens there: JetStream is off, or the stream does not exist");
  }
  co_return result;
}

std::string Link::listen(const std::string& consumer, std::function<void(Message)> on_message) {
  const auto listener = std::make_shared<Listener>("g" + std::to_string(++next_inbox_), std::move(on_message));
  listeners_[listener->inbox] = listener;
  listeners_[consumer] = listener;
  return inbox_ + "." + listener->inbox;
}

void Link::unlisten(const std::string& consumer) {
  const auto found = listeners_.find(consumer);
  if (found == listeners_.end()) return;
  listeners_.erase(found->second->inbox);
  listeners_.erase(consumer);
}

bool Link::steady_for(std::chrono::milliseconds span) const {
  return connected_ && (!reconnected_at_ || loop_.now() - *reconnected_at_ >= span);
}

Task<void> Link::wait_connected(std::stop_token stop) {
  while (!connected_ && !closed_ && !stop.stop_requested()) co_await connected_waits_.wait(stop);
}

void Link::take() {
  auto batch = arrivals_->take(kDispatchMax);
  rest_.reset();
  // Timers and descriptors get their turn between two portions, which they would not if it were posted; nor if the
  // timer were started here, in the callback of one: libuv runs it in the same pass.
  if (batch.more) {
    loop_.post([this, alive = std::weak_ptr(arrivals_)] {
      if (!alive.expired() && !closed_) rest_ = loop_.start_timer({}, [this] { take(); });
    });
  }
  for (const int change : batch.changes) changed(change);
  for (auto& [reply, error] : batch.failures) {
    const auto last = reply.rfind('.');
    if (last == std::string::npos || !reply.starts_with(inbox_ + ".r.")) continue;
    const auto waiting = waiting_.find(token_of(std::string_view(reply).substr(last + 1)));
    if (waiting != waiting_.end()) waiting->second.set(fail(std::move(error)));
  }
  for (auto& message : batch.messages) dispatch(std::move(message));
  if (batch.dropped == 0) return;
  log_.warn("messages from the NATS server were thrown away: more of them waited than receive_bytes_max",
            {{"messages", batch.dropped}, {"receive_bytes_max", options_.receive_bytes_max}});
  if (dropped_) dropped_(batch.dropped);
}

void Link::dispatch(Message message) {
  std::string_view name = message.subject();
  const bool to_us = name.starts_with(inbox_);
  if (to_us) name.remove_prefix(inbox_.size() + 1);
  if (!to_us || !name.starts_with("r.")) {
    const auto found = listeners_.find(to_us ? name : consumer_of(message.reply()));
    if (found == listeners_.end()) {
      if (!to_us && news_) news_(message);
      return;
    }
    const auto listener = found->second;
    listener->on_message(std::move(message));
    return;
  }
  const auto waiting = waiting_.find(token_of(name.substr(2)));
  if (waiting == waiting_.end()) return;
  const auto answer = waiting->second;
  answer.set(std::move(message));
}

void Link::changed(int change) {
  if (closed_) return;
  switch (static_cast<Change>(change)) {
    case Change::disconnected:
      connected_ = false;
      log_.warn("the connection to the NATS server broke; connecting again", {{"url", shown_nats_url(options_.url)}});
      fail_all("the connection to the NATS server broke before it answered");
      return;
    case Change::reconnected:
      connected_ = true;
      reconnected_at_ = loop_.now();
      log_.info("connected to the NATS server again", {{"url", shown_nats_url(options_.url)}});
      connected_waits_.wake_all();
      if (reconnected_) reconnected_();
      return;
    case Change::closed:
      connected_ = false;
      refused_ = "the NATS server at " + shown_nats_url(options_.url) +
                 " ended the connection for good: is this client still allowed?";
      log_.error(refused_, {});
      fail_all(refused_);
      connecting_.spawn(connect_anew());
      return;
  }
}

void Link::fail_all(const std::string& why) {
  std::vector<OneShot<Result<Message>>> all;
  for (const auto& [token, answer] : waiting_) all.push_back(answer);
  for (const auto& answer : all) answer.set(fail(Errc::unavailable, why));
}

// The timer is set again when it runs out, not whenever the first of them was answered.
void Link::look_at_deadlines() {
  deadline_timer_.reset();
  const auto now = loop_.now();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const auto waiting = waiting_.find(deadlines_.begin()->second);
    deadlines_.erase(deadlines_.begin());
    if (waiting != waiting_.end()) waiting->second.set(fail(Errc::deadline_exceeded, ""));
  }
  if (deadlines_.empty()) return;
  deadline_timer_at_ = deadlines_.begin()->first;
  deadline_timer_ = loop_.start_timer(std::chrono::ceil<EventLoop::Duration>(deadline_timer_at_ - now),
                                      [this] { look_at_deadlines(); });
}

void Link::cut() {
  if (std::exchange(closed_, true)) return;
  arrivals_->stop();
  connected_ = false;
  deadline_timer_.reset();
  rest_.reset();
  listeners_.clear();
  fail_all("the connection to the NATS server is closed");
  connecting_.request_stop();
  connected_waits_.wake_all();
}

void Link::abandon() {
  cut();
  if (sender_) sender_->hand_over();
  sender_.reset();
  client_.reset();
}

Task<void> Link::close() {
  cut();
  const auto sender = std::move(sender_);
  auto client = std::move(client_);
  if (!client) co_return;
  sender->hand_over();
  [[maybe_unused]] const auto done = co_await pool_.run([sender, client = std::move(client)]() mutable -> Result<void> {
    sender->finish();
    client->close();
    return {};
  });
}

}  // namespace millrace::nats
