#include <nats/nats.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stdexcept>
#include <string_view>

#include "bench/message_bytes.h"
#include "bench/nats/rounds.h"

namespace millrace::bench {
namespace {

constexpr std::int64_t kTimeoutMs = 10'000;
constexpr std::int64_t kWindow = 256;  // of asynchronous publishes, as in the rounds

void must(natsStatus status, const char* what) {
  if (status != NATS_OK) throw std::runtime_error(std::string(what) + ": " + natsStatus_GetText(status));
}

class RawClient final : public Client {
 public:
  RawClient(const std::string& url, bool confirmed) : confirmed_(confirmed), name_(confirmed ? "raw" : "unconfirmed") {
    natsOptions* options = nullptr;
    must(natsOptions_Create(&options), "options");
    must(natsOptions_SetURL(options, url.c_str()), "url");
    must(natsOptions_SetSendAsap(options, true), "send asap");
    must(natsConnection_Connect(&connection_, options), "connect");
    natsOptions_Destroy(options);
    jsOptions settings;
    jsOptions_Init(&settings);
    settings.PublishAsync.MaxPending = kWindow;
    settings.PublishAsync.StallWait = kTimeoutMs * 10;
    must(natsConnection_JetStream(&stream_, connection_, &settings), "JetStream");
    make_stream(name_, name_ + ".>", js_InterestPolicy, -1);
    make_stream(name_ + "-kv", name_ + "-kv.>", js_LimitsPolicy, 1);
    jsConsumerConfig consumer;
    jsConsumerConfig_Init(&consumer);
    consumer.Durable = "c";
    consumer.AckPolicy = js_AckExplicit;
    consumer.MaxAckPending = -1;
    consumer.AckWait = 30'000'000'000;
    must(js_AddConsumer(nullptr, stream_, name_.c_str(), &consumer, nullptr, nullptr), "consumer");
    must(natsConnection_Subscribe(&inbox_, connection_, (name_ + "-inbox").c_str(), on_message, this), "inbox");
    must(natsConnection_Subscribe(&answers_, connection_, (name_ + "-answers").c_str(), on_answer, this), "answers");
    must(natsSubscription_SetPendingLimits(inbox_, -1, -1), "limits");
    must(natsSubscription_SetPendingLimits(answers_, -1, -1), "limits");
  }
  ~RawClient() override {
    natsSubscription_Destroy(inbox_);
    natsSubscription_Destroy(answers_);
    jsCtx_Destroy(stream_);
    natsConnection_Destroy(connection_);
  }

  void publish(std::uint64_t window, std::uint64_t messages) override {
    if (window == 1) {
      for (std::uint64_t i = 0; i < messages; ++i) publish_one();
    } else {
      start_publishing(messages);
      finish_publishing();
    }
  }
  void consume(std::uint64_t window, std::uint64_t messages) override {
    start_consuming(window, messages);
    finish_consuming();
  }
  void both(std::uint64_t window, std::uint64_t messages) override {
    start_consuming(window, messages);
    start_publishing(messages);
    finish_publishing();
    finish_consuming();
  }
  void begin(std::uint64_t messages) override {
    for (std::uint64_t i = 0; i < messages; ++i) {
      put_record();
      consume(1, 1);
    }
  }

  void put_record() {
    const std::string record = "0123456789abcdef.1 1700000000000 0 0";
    const std::string subject = name_ + "-kv." + std::to_string(next_++);
    natsMsg* message = nullptr;
    must(natsMsg_Create(&message, subject.c_str(), nullptr, record.data(), static_cast<int>(record.size())), "record");
    must(natsMsgHeader_Set(message, "Nats-Expected-Last-Subject-Sequence", "0"), "header");
    must(js_PublishMsg(nullptr, stream_, message, nullptr, nullptr), "write a record");
    natsMsg_Destroy(message);
  }

 private:
  void make_stream(const std::string& name, const std::string& subject, jsRetentionPolicy retention,
                   std::int64_t per_subject) {
    jsStreamConfig stream;
    jsStreamConfig_Init(&stream);
    const char* subjects = subject.c_str();
    stream.Name = name.c_str();
    stream.Subjects = &subjects;
    stream.SubjectsLen = 1;
    stream.Retention = retention;
    stream.Storage = js_FileStorage;
    stream.Discard = js_DiscardNew;
    stream.MaxMsgsPerSubject = per_subject;
    stream.Duplicates = 600'000'000'000;
    must(js_AddStream(nullptr, stream_, &stream, nullptr, nullptr), "stream");
  }
  void publish_one() {
    jsPubOptions options;
    jsPubOptions_Init(&options);
    const std::string id = std::to_string(next_++);
    options.MsgId = id.c_str();
    must(js_Publish(nullptr, stream_, (name_ + ".m").c_str(), body_.data(), static_cast<int>(body_.size()), &options,
                    nullptr),
         "publish");
  }
  void start_publishing(std::uint64_t messages) {
    const std::string subject = name_ + ".m";
    for (std::uint64_t i = 0; i < messages; ++i) {
      jsPubOptions options;
      jsPubOptions_Init(&options);
      const std::string id = std::to_string(next_++);
      options.MsgId = id.c_str();
      must(js_PublishAsync(stream_, subject.c_str(), body_.data(), static_cast<int>(body_.size()), &options),
           "publish");
    }
  }
  void finish_publishing() {
    jsPubOptions options;
    jsPubOptions_Init(&options);
    options.MaxWait = kTimeoutMs * 10;
    must(js_PublishAsyncComplete(stream_, &options), "confirmations");
  }

  void ask(std::uint64_t batch) {
    const std::string request = "{\"batch\":" + std::to_string(batch) + ",\"expires\":60000000000}";
    must(natsConnection_PublishRequest(connection_, ("$JS.API.CONSUMER.MSG.NEXT." + name_ + ".c").c_str(),
                                       (name_ + "-inbox").c_str(), request.data(), static_cast<int>(request.size())),
         "ask");
  }
  void start_consuming(std::uint64_t window, std::uint64_t messages) {
    {
      const std::lock_guard lock(mutex_);
      wanted_ = messages;
      taken_ = 0;
      acked_ = 0;
      step_ = std::max<std::uint64_t>(window / 2, 1);
      to_ask_ = messages > window ? messages - window : 0;
    }
    ask(std::min(window, messages));
  }
  void finish_consuming() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return acked_ == wanted_; });
  }
  // Asks for the next half of a window when one has come.
  void took(natsMsg* message) {
    const char* reply = natsMsg_GetReply(message);
    if (reply == nullptr || std::string_view(reply).substr(0, 8) != "$JS.ACK.") return;
    if (confirmed_) {
      must(natsConnection_PublishRequest(connection_, reply, (name_ + "-answers").c_str(), "+ACK", 4), "ack");
    } else {
      must(natsConnection_PublishString(connection_, reply, "+ACK"), "ack");
    }
    std::uint64_t batch = 0;
    {
      const std::lock_guard lock(mutex_);
      if (!confirmed_ && ++acked_ == wanted_) done_.notify_all();
      if (++taken_ % step_ == 0) batch = std::min(step_, to_ask_);
      to_ask_ -= batch;
    }
    if (batch > 0) ask(batch);
  }
  static void on_message(natsConnection*, natsSubscription*, natsMsg* message, void* self) {
    static_cast<RawClient*>(self)->took(message);
    natsMsg_Destroy(message);
  }
  static void on_answer(natsConnection*, natsSubscription*, natsMsg* message, void* self) {
    natsMsg_Destroy(message);
    auto& client = *static_cast<RawClient*>(self);
    const std::lock_guard lock(client.mutex_);
    if (++client.acked_ == client.wanted_) client.done_.notify_all();
  }

  const bool confirmed_;
  const std::string name_;
  const std::string body_ = std::string(kMessageBytes, 'x');
  natsConnection* connection_ = nullptr;
  jsCtx* stream_ = nullptr;
  natsSubscription* inbox_ = nullptr;
  natsSubscription* answers_ = nullptr;
  // No id twice, whoever published before.
  std::uint64_t next_ = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  std::mutex mutex_;  // guards what follows
  std::condition_variable done_;
  std::uint64_t wanted_ = 0;
  std::uint64_t taken_ = 0;
  std::uint64_t acked_ = 0;
  std::uint64_t step_ = 1;
  std::uint64_t to_ask_ = 0;
};

}  // namespace

std::unique_ptr<Client> make_raw(const std::string& url, bool confirmed) {
  return std::make_unique<RawClient>(url, confirmed);
}

double put_records(const std::string& url, std::uint64_t records) {
  RawClient client(url, true);
  const auto start = std::chrono::steady_clock::now();
  for (std::uint64_t i = 0; i < records; ++i) client.put_record();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace millrace::bench
