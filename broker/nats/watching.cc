#include "broker/nats/watching.h"

#include <algorithm>
#include <chrono>
#include <string_view>
#include <utility>

#include "broker/nats/wire.h"
#include "core/ids.h"

namespace millrace::nats {
namespace {

// When nobody asks, the server keeps what comes for so long.
constexpr std::chrono::milliseconds kInactiveMax{5'000};
constexpr std::uint32_t kAskedMax = 256;
constexpr std::string_view kRequestLife = "60000000000";  // the server forgets a request then, and says so
constexpr int kRequestOver = 408;
constexpr int kRefused = 400;

Task<void> remove(Core& core, std::string place) {
  [[maybe_unused]] const auto gone = co_await core.jetstream.call("CONSUMER.DELETE." + place);
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
    : core_(core), topic_(std::move(topic)), consumer_("WATCH-" + random_hex(8)), watcher_(&watcher) {}

Task<Result<void>> Watching::make() {
  last_ = 0;
  asked_ = 0;
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
  ask();
  co_return Result<void>{};
}

void Watching::ask() {
  if (watcher_ == nullptr || asked_ > kAskedMax / 2) return;
  const std::uint32_t batch = kAskedMax - asked_;
  const bool sent = core_.link->send(
      {.subject = "$JS.API.CONSUMER.MSG.NEXT." + place(),
       .reply = inbox_,
       .data = "{\"batch\":" + std::to_string(batch) + ",\"expires\":" + std::string(kRequestLife) + "}"});
  if (sent) asked_ = kAskedMax;
}

Task<Result<void>> Watching::begin() {
  const auto self = shared_from_this();
  inbox_ = core_.link->listen(place(), [weak = weak_from_this()](const Message& message) {
    if (const auto watching = weak.lock()) watching->arrived(message);
  });
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

Task<void> Watching::look_again() {
  const auto self = shared_from_this();
  const auto info = co_await core_.jetstream.call("CONSUMER.INFO." + place());
  if (info) {
    asked_ = 0;
    ask();
  }
  if (watcher_ == nullptr || info || info.error().code != Errc::not_found) co_return;
  const auto made = co_await make();
  if (watcher_ == nullptr) co_return;
  if (made) watcher_->missed(0);
  if (!made && made.error().code == Errc::not_found) topic_removed();
}

void Watching::topic_removed() {
  TopicWatcher* const watcher = watcher_;
  if (watcher == nullptr) return;
  end();
  watcher->topic_removed();
}

void Watching::arrived(const Message& message) {
  const auto position = position_of(message.reply());
  if (!position) {
    const int status = message.status();
    if (status == kRequestOver) {
      asked_ = 0;
      ask();
    } else if (status >= kRefused) {  // the consumer is not there
      core_.background.spawn(look_again());
    }
    return;
  }
  asked_ -= std::min(asked_, 1U);
  ask();
  if (position->consumer_seq > last_ + 1) watcher_->missed(position->consumer_seq - last_ - 1);
  last_ = position->consumer_seq;
  const Received received =
      decode(message.headers(), message.subject(), std::string(message.data()),
             {.stream = core_.names.stream(topic_), .seq = position->seq, .stored_at = stored_at(message.reply())});
  watcher_->seen(received.event, {}, received.published_at);
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
