#include "engine/topic_feed.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "async/one_shot.h"
#include "engine/feed_wait.h"

namespace millrace {
namespace {

std::string beginning(const std::string& data) {
  std::size_t size = std::min(data.size(), TopicFeed::kShownBytesMax);
  const auto goes_on = [&data](std::size_t at) {
    constexpr unsigned kMask = 0xC0;
    constexpr unsigned kContinues = 0x80;
    return (static_cast<unsigned char>(data[at]) & kMask) == kContinues;
  };
  constexpr int kBytesMax = 3;  // that follow the first of a character
  for (int i = 0; i < kBytesMax && size > 0 && size < data.size() && goes_on(size); ++i) --size;
  return data.substr(0, size);
}

std::size_t bytes_of(const TopicNews& news) {
  return sizeof(TopicNews) + news.id.size() + news.source.size() + news.type.size() + news.subject.size() +
         news.key.size() + news.content_type.size() + news.data.size();
}

std::string key_of(const Event& event, std::string_view key) {
  if (!key.empty()) return std::string(key);
  const auto found = std::ranges::find(event.extensions, "partitionkey", &std::pair<std::string, std::string>::first);
  return found == event.extensions.end() ? std::string() : found->second;
}

}  // namespace

class TopicFeed::Reader final : public TopicWatcher {
 public:
  Reader(const Options& options, Counter& skipped) : options_(options), skipped_total_(skipped) {}

  void seen(const Event& event, std::string_view key, std::chrono::system_clock::time_point published_at) override {
    TopicNews news{.id = event.source_id.empty() ? event.id.str() : event.source_id,
                   .source = event.source,
                   .type = event.type,
                   .subject = event.subject,
                   .key = key_of(event, key),
                   .content_type = event.content_type,
                   .data = beginning(event.data),
                   .data_bytes = event.data.size(),
                   .published_at = published_at};
    bytes_ += bytes_of(news);
    news_.push_back(std::move(news));
    while (news_.size() > options_.news_max || bytes_ > options_.news_bytes_max) {
      bytes_ -= bytes_of(news_.front());
      news_.pop_front();
      skip(1);
    }
    wake();
  }
  void missed(std::uint64_t count) override {
    skip(count);
    interrupted_ = interrupted_ || count == 0;
    wake();
  }
  void topic_removed() override {
    topic_removed_ = true;
    wake();
  }

 private:
  friend class TopicFeed;

  [[nodiscard]] bool has_news() const { return !news_.empty() || skipped_ > 0 || interrupted_ || topic_removed_; }
  void skip(std::uint64_t count) {
    skipped_ += count;
    skipped_total_.add(count);
  }
  void wake() {
    if (waiter_) waiter_->set(true);
  }

  const Options options_;
  Counter& skipped_total_;
  std::deque<TopicNews> news_;
  std::size_t bytes_ = 0;
  std::uint64_t skipped_ = 0;
  bool interrupted_ = false;
  bool topic_removed_ = false;
  std::optional<OneShot<bool>> waiter_;
  std::unique_ptr<Watch> watch_;  // the last member: it calls the others
};

TopicFeed::TopicFeed(EventLoop& loop, Broker& broker, Options options, Metrics& metrics)
    : loop_(loop),
      broker_(broker),
      options_(options),
      gauge_(metrics.gauge("millrace_topic_feed_readers", "clients that watch a topic")),
      skipped_(metrics.counter("millrace_topic_feed_skipped_total", "events that clients who watch topics missed")) {}

Task<Result<std::shared_ptr<TopicFeed::Reader>>> TopicFeed::open(std::string topic) {
  std::erase_if(readers_, [](const std::weak_ptr<Reader>& reader) { return reader.expired(); });
  if (readers_.size() >= options_.readers_max) {
    co_return fail(Errc::resource_exhausted,
                   std::to_string(options_.readers_max) + " clients are watching topics already");
  }
  // What it watches with belongs to the loop.
  const auto drop = [&loop = loop_, &gauge = gauge_](Reader* gone) {
    loop.post([owned = std::shared_ptr<Reader>(gone), &gauge] { gauge.add(-1); });
  };
  const std::shared_ptr<Reader> reader(new Reader(options_, skipped_), drop);
  gauge_.add(1);
  readers_.push_back(reader);
  auto watch = co_await broker_.watch(std::move(topic), *reader);
  if (!watch) co_return fail(watch.error());
  reader->watch_ = std::move(*watch);
  co_return reader;
}

Task<Result<TopicFeed::Batch>> TopicFeed::next(std::shared_ptr<Reader> reader, EventLoop::Duration patience,
                                               std::stop_token stop) {
  if (!reader->has_news()) co_await wait_for_news(loop_, reader->waiter_, patience, stop);
  if (stop.stop_requested()) co_return fail(Errc::cancelled, "cancelled");
  Batch batch{.news = {std::make_move_iterator(reader->news_.begin()), std::make_move_iterator(reader->news_.end())},
              .skipped = std::exchange(reader->skipped_, 0),
              .interrupted = std::exchange(reader->interrupted_, false),
              .topic_removed = reader->topic_removed_};
  reader->news_.clear();
  reader->bytes_ = 0;
  co_return batch;
}

}  // namespace millrace
