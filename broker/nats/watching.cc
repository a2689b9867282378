#include "broker/nats/watching.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string_view>
#include <utility>

#include "async/sleep.h"
#include "broker/nats/wire.h"
#include "core/ids.h"

namespace millrace::nats {
namespace {

// When nobody asks, the server keeps what comes for so long.
constexpr std::chrono::milliseconds kInactiveMax{5'000};
// What may be on its way to a watcher: it shares the bytes that may wait here with work and answers.
constexpr std::uint32_t kMessagesMax = 256;
constexpr std::int64_t kBytesMax = 2 << 20;
constexpr std::chrono::milliseconds kRequestLife{20'000};  // the server forgets a request then, and says so
constexpr std::chrono::milliseconds kRequestGrace{10'000};
constexpr std::chrono::milliseconds kLookPause{250};
constexpr int kRequestOver = 408;
constexpr int kRefused = 400;
constexpr std::string_view kTooLarge = "Message Size Exceeds MaxBytes";

Task<void> remove(Core& core, std::string place) {
  [[maybe_unused]] const auto gone = co_await core.jetstream.call("CONSUMER.DELETE." + place);
}

// At least what the server counts against the bytes of a request: a request that it takes for used up while we do not
// would end without a word.
std::int64_t counted_bytes(const Message& message, const Headers& headers) {
  constexpr std::size_t kFrame = 12;  // around all headers
  constexpr std::size_t kHeader = 4;  // around each
  std::size_t bytes = kFrame + message.subject().size() + message.reply().size() + message.data().size();
  for (const auto& [name, value] : headers) bytes += kHeader + name.size() + value.size();
  return static_cast<std::int64_t>(bytes);
}

class NatsWatch final : public Watch {
 public:
  NatsWatch(const std::shared_ptr<Core>& core, std::shared_ptr<Watching> watching)
      : core_(core), watching_(std::move(watching)) {}
  NatsWatch(const NatsWatch&) = delete;
  NatsWatch& operator=(const NatsWatch&) = delete;
  ~NatsWatch() override {
    if (const auto core = core_.lock()) watching_->end();
  }

 private:
  std::weak_ptr<Core> core_;
  std::shared_ptr<Watching> watching_;
};

}  // namespace

// No group is called in upper case.
Watching::Watching(Core& core, std::string topic, TopicWatcher& watcher)
    : core_(core),
      topic_(std::move(topic)),
      consumer_("WATCH-" + random_hex(8)),
      watcher_(&watcher),
      asked_at_(core.loop.now()) {}

Task<Result<void>> Watching::make() {
  last_ = 0;
  Json subjects = Json::array({core_.names.subject(topic_), core_.names.marked_for_all(topic_)});
  const Json config = Json::object({{"name", consumer_},
                                    {"deliver_policy", "new"},
                                    {"ack_policy", "none"},
                                    {"replay_policy", "instant"},
                                    {"inactive_threshold", nanoseconds(kInactiveMax)},
                                    {"filter_subjects", std::move(subjects)}});
  auto made = co_await core_.jetstream.call(
      "CONSUMER.CREATE." + place(), Json::object({{"stream_name", core_.names.stream(topic_)}, {"config", config}}));
  if (!made) co_return fail(made.error());
  ask(kMessagesMax);
  co_return Result<void>{};
}

// The inbox is a new one each time: the end of a request that was given up says nothing of the one that stands.
void Watching::ask(std::uint32_t messages) {
  if (watcher_ == nullptr) return;
  core_.link->unlisten(place());
  std::string inbox = core_.link->listen(place(), [weak = weak_from_this()](const Message& message) {
    if (const auto watching = weak.lock()) watching->arrived(message);
  });
  messages_left_ = messages;
  bytes_left_ = kBytesMax;
  asked_at_ = core_.loop.now();
  Json request = Json::object({{"batch", messages_left_}, {"expires", nanoseconds(kRequestLife)}});
  if (messages > 1) request.set("max_bytes", kBytesMax);
  // What cannot be sent is found out as what is lost on the way is.
  [[maybe_unused]] const bool sent = core_.link->send(
      {.subject = "$JS.API.CONSUMER.MSG.NEXT." + place(), .reply = std::move(inbox), .data = request.dump()});
}

void Watching::check_request() {
  if (core_.loop.now() - asked_at_ > kRequestLife + kRequestGrace) core_.background.spawn(look_again());
}

Task<Result<void>> Watching::begin() {
  const auto self = shared_from_this();
  core_.watchings.insert(self);
  auto made = co_await make();
  if (!made) end();
  co_return made;
}

void Watching::end() {
  if (std::exchange(watcher_, nullptr) == nullptr) return;
  core_.link->unlisten(place());
  if (!core_.closed()) core_.background.spawn(remove(core_, place()));
  core_.watchings.erase(shared_from_this());
}

// Until it is known: a watcher that is told nothing takes it for a topic on which nothing happens.
Task<void> Watching::look_again() {
  const auto self = shared_from_this();
  if (std::exchange(looking_, true)) co_return;
  for (bool known = false; !known;) {
    // Also before the first time: a request that is refused at once must not go round in a circle.
    const auto slept = co_await sleep_for(core_.loop, kLookPause);
    if (!slept || watcher_ == nullptr || core_.closed()) break;
    known = co_await look();
  }
  looking_ = false;
}

// False when the server does not say.
Task<bool> Watching::look() {
  const auto info = co_await core_.jetstream.call("CONSUMER.INFO." + place());
  if (info && info->uint_or("num_waiting", 0) == 0) ask(kMessagesMax);
  if (watcher_ == nullptr || info) co_return true;
  if (info.error().code != Errc::not_found) co_return false;
  const auto made = co_await make();
  if (watcher_ == nullptr) co_return true;
  if (made) watcher_->missed(0);
  if (made || made.error().code != Errc::not_found) co_return made.has_value();
  topic_removed();
  co_return true;
}

void Watching::topic_removed() {
  TopicWatcher* const watcher = watcher_;
  if (watcher == nullptr) return;
  end();
  watcher->topic_removed();
}

void Watching::arrived(const Message& message) {
  const auto position = position_of(message.reply());
  if (!position) {  // what has a place in the stream is no word of the server's
    told(message);
    return;
  }
  const Headers headers = message.headers();
  messages_left_ -= std::min(messages_left_, 1U);
  bytes_left_ -= counted_bytes(message, headers);
  if (messages_left_ == 0 || bytes_left_ <= 0) ask(kMessagesMax);
  if (position->consumer_seq > last_ + 1) watcher_->missed(position->consumer_seq - last_ - 1);
  last_ = position->consumer_seq;
  const Received received =
      decode(headers, message.subject(), std::string(message.data()),
             {.stream = core_.names.stream(topic_), .seq = position->seq, .stored_at = stored_at(message.reply())});
  watcher_->seen(received.event, {}, received.published_at);
}

void Watching::told(const Message& message) {
  const int status = message.status();
  if (status == kRequestOver) {
    ask(kMessagesMax);
  } else if (status >= kRefused && message.header("Description") == kTooLarge) {
    // For what is left of the request; if that is all of it, for every request of many.
    ask(messages_left_ == kMessagesMax ? 1 : kMessagesMax);
  } else if (status >= kRefused) {  // the consumer is not there
    core_.background.spawn(look_again());
  }
}

Task<Result<std::unique_ptr<Watch>>> watch(std::shared_ptr<Core> core, std::string topic, TopicWatcher& watcher) {
  auto found = co_await core->find(topic);
  if (!found) co_return fail(found.error());
  const auto watching = std::make_shared<Watching>(*core, std::move(topic), watcher);
  std::unique_ptr<Watch> watch = std::make_unique<NatsWatch>(core, watching);
  auto begun = co_await watching->begin();
  if (!begun) co_return fail(begun.error().with("watch topic '" + watching->topic() + "'"));
  co_return watch;
}

}  // namespace millrace::nats
