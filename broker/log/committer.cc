#include "broker/log/committer.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace millrace::wal {

Committer::Committer(EventLoop& loop, Metrics& metrics, std::uint64_t last_batch, Done done)
    : loop_(loop),
      commits_(metrics.counter("millrace_log_commits_total", "batches written to the embedded log")),
      committed_bytes_(metrics.counter("millrace_log_committed_bytes_total", "bytes written to the embedded log")),
      sync_seconds_(metrics.histogram("millrace_log_commit_seconds", "time to write and sync a batch")),
      done_(std::make_shared<Done>(std::move(done))),
      last_batch_(last_batch),
      thread_([this] { work(); }) {}

Committer::~Committer() {
  *done_ = nullptr;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

void Committer::append(const std::shared_ptr<LogFile>& file, std::uint32_t seed, std::uint64_t offset,
                       const RecordHead& head, std::string_view body) {
  if (building_.empty() || building_.back().file != file) {
    building_.push_back({.file = file, .seed = seed, .offset = offset, .records = 0, .bytes = std::move(next_bytes_)});
    next_bytes_.clear();
  }
  append_record(building_.back().bytes, head, body);
  ++building_.back().records;
}

void Committer::flush() {
  {
    const std::lock_guard lock(mutex_);
    for (auto& piece : building_) queued_.push_back(std::move(piece));
    flushed_ = true;
    if (!spare_.empty()) {
      next_bytes_ = std::move(spare_.back());
      spare_.pop_back();
    }
  }
  building_.clear();
  wake_.notify_one();
}

void Committer::work() {
  std::vector<Piece> taken;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      for (auto& piece : taken) {
        if (spare_.size() == kSpareMax || piece.bytes.capacity() > kSpareBytesMax) continue;
        piece.bytes.clear();
        spare_.push_back(std::move(piece.bytes));
      }
      taken.clear();
      wake_.wait(lock, [this] { return flushed_ || closing_; });
      if (!flushed_) return;  // closing, and everything flushed is written
      flushed_ = false;
      taken.swap(queued_);
    }
    if (taken.empty()) continue;
    if (auto done = commit(taken); !done) {
      report(fail(std::move(done.error())));
      return;
    }
    report(safe_records_);
  }
}

Result<void> Committer::commit(std::vector<Piece>& pieces) {
  for (auto first = pieces.begin(); first != pieces.end();) {
    const auto after = std::find_if(first, pieces.end(), [&](const Piece& each) { return each.file != first->file; });
    if (auto done = commit_batch({first, after}); !done) return done;
    first = after;
  }
  return {};
}

// Of one file, one behind the other.
Result<void> Committer::commit_batch(std::span<Piece> pieces) {
  const auto start = std::chrono::steady_clock::now();
  ++last_batch_;
  std::uint64_t bytes = 0;
  for (auto& piece : pieces) {
    seal_batch(piece.bytes, last_batch_, piece.seed, &piece == &pieces.back());
    if (auto written = piece.file->write(piece.bytes, piece.offset); !written) return written;
    safe_records_ += piece.records;
    bytes += piece.bytes.size();
  }
  if (auto synced = pieces.front().file->sync(); !synced) return synced;
  safe_bytes_ += bytes;
  commits_.add();
  committed_bytes_.add(bytes);
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
  sync_seconds_.observe_us(static_cast<std::uint64_t>(took.count()));
  return {};
}

void Committer::report(Result<std::uint64_t> safe) {
  loop_.post([done = done_, safe = std::move(safe), bytes = safe_bytes_]() mutable {
    if (*done) (*done)(std::move(safe), bytes);
  });
}

}  // namespace millrace::wal
