#include "engine/run_feed.h"

#include <utility>

#include "engine/feed_wait.h"

namespace millrace {

RunFeed::RunFeed(EventLoop& loop, Options options, Metrics& metrics)
    : loop_(loop),
      options_(options),
      gauge_(metrics.gauge("millrace_feed_readers", "clients that watch runs")),
      skipped_(metrics.counter("millrace_feed_skipped_total", "news of runs that slow clients missed")) {}

Result<std::shared_ptr<RunFeed::Reader>> RunFeed::open(std::string function) {
  std::erase_if(readers_, [](const std::weak_ptr<Reader>& reader) { return reader.expired(); });
  if (readers_.size() >= options_.readers_max) {
    return fail(Errc::resource_exhausted, std::to_string(options_.readers_max) + " clients are watching runs already");
  }
  auto reader = std::make_shared<Reader>(std::move(function));
  readers_.push_back(reader);
  gauge_.set(static_cast<std::int64_t>(readers_.size()));
  return reader;
}

Task<Result<RunFeed::Batch>> RunFeed::next(std::shared_ptr<Reader> reader, EventLoop::Duration patience,
                                           std::stop_token stop) {
  if (reader->news_.empty()) co_await wait_for_news(loop_, reader->waiter_, patience, stop);
  if (stop.stop_requested()) co_return fail(Errc::cancelled, "cancelled");
  Batch batch{.news = {reader->news_.begin(), reader->news_.end()}, .skipped = std::exchange(reader->skipped_, 0)};
  reader->news_.clear();
  co_return batch;
}

void RunFeed::run_changed(const LiveRun& run) {
  if (!readers_.empty()) tell({.run = run, .end = std::nullopt});
}

void RunFeed::run_ended(const LiveRun& run, const RunEnd& end) {
  if (!readers_.empty()) tell({.run = run, .end = end});
}

void RunFeed::tell(RunNews told) {
  const auto news = std::make_shared<const RunNews>(std::move(told));
  const auto gone = std::erase_if(readers_, [&](const std::weak_ptr<Reader>& weak) {
    const auto reader = weak.lock();
    if (!reader) return true;
    if (!reader->function_.empty() && reader->function_ != news->run.function) return false;
    if (reader->news_.size() >= options_.news_max) {
      reader->news_.pop_front();
      ++reader->skipped_;
      skipped_.add();
    }
    reader->news_.push_back(news);
    if (reader->waiter_) reader->waiter_->set(true);
    return false;
  });
  if (gone > 0) gauge_.set(static_cast<std::int64_t>(readers_.size()));
}

}  // namespace millrace
