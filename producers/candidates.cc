#include "producers/candidates.h"

#include <algorithm>
#include <utility>

namespace millrace {
namespace {

std::string id_of(const ObjectName& name) {
  return name.bucket + "/" + name.key;
}

}  // namespace

Candidates::Candidates(EventLoop& loop, CandidateExaminer& examiner, Options options, Metrics& metrics, Log& log)
    : loop_(loop),
      examiner_(examiner),
      options_(options),
      gauge_(metrics.gauge("millrace_watch_candidates", "names that may hold a new object and are not decided yet")),
      forgotten_(metrics.counter("millrace_watch_writers_forgotten_total",
                                 "names open for writing that were left to their writer's close, being too many")),
      log_(log),
      group_(loop) {}

void Candidates::add(ObjectName name) {
  if (closed_) return;
  const std::string id = id_of(name);
  const auto [found, added] = entries_.try_emplace(id);
  Entry& entry = found->second;
  if (added) {
    entry.name = std::move(name);
    gauge_.set(static_cast<std::int64_t>(entries_.size()));
    queue_.push_back(id);
  } else if (entry.state == State::examining) {
    entry.again = true;
  } else if (entry.state == State::waiting) {
    enqueue(id, entry);
  }
  pump();
}

void Candidates::enqueue(const std::string& id, Entry& entry) {
  entry.timer.reset();
  set_waiting(entry, State::queued, Verdict::Kind::done);
  queue_.push_back(id);
}

void Candidates::set_waiting(Entry& entry, State state, Verdict::Kind why) {
  if (entry.state == State::waiting && entry.why == Verdict::Kind::writer) --writers_;
  entry.state = state;
  entry.why = why;
  if (state == State::waiting && why == Verdict::Kind::writer) ++writers_;
}

void Candidates::pump() {
  if (pumping_) return;  // an examination that ended at once: the loop below goes on
  pumping_ = true;
  while (!closed_ && examining_ < options_.concurrent_max && !queue_.empty()) {
    std::string id = std::move(queue_.front());
    queue_.pop_front();
    group_.spawn(examine(std::move(id)));
  }
  pumping_ = false;
}

Task<void> Candidates::examine(std::string id) {
  Entry& entry = entries_.at(id);  // nobody erases what is being examined
  set_waiting(entry, State::examining, Verdict::Kind::done);
  ++examining_;
  Verdict verdict = co_await examiner_.examine(entry.name, entry.settling);
  --examining_;
  conclude(id, entry, std::move(verdict));
  pump();
}

void Candidates::conclude(const std::string& id, Entry& entry, Verdict verdict) {
  const bool undecided = verdict.kind == Verdict::Kind::settling && !verdict.changed;
  if (!undecided) {
    const bool failed = verdict.kind == Verdict::Kind::failed;
    release(std::move(entry.waiters), failed ? Result<void>(fail(verdict.error)) : Result<void>());
    entry.waiters.clear();
  }
  std::ranges::move(entry.waiters_again, std::back_inserter(entry.waiters));
  entry.waiters_again.clear();
  entry.settling = verdict.settling;
  entry.failures = verdict.kind == Verdict::Kind::failed ? entry.failures + 1 : 0;
  entry.writer_looks = verdict.kind == Verdict::Kind::writer ? entry.writer_looks + 1 : 0;

  if (closed_) {
    erase(id);
  } else if (std::exchange(entry.again, false)) {
    enqueue(id, entry);
  } else if (verdict.kind == Verdict::Kind::done) {
    erase(id);
  } else {
    wait(id, entry, std::move(verdict));
  }
  wake_room();
}

void Candidates::wait(const std::string& id, Entry& entry, Verdict verdict) {
  EventLoop::Duration delay = verdict.wait;
  if (verdict.kind == Verdict::Kind::writer) {
    if (writers_ >= options_.writers_max) {
      forgotten_.add();
      erase(id);
      return;
    }
    delay = Backoff::ceiling(options_.writer_base, options_.writer_cap, entry.writer_looks);
  } else if (verdict.kind == Verdict::Kind::failed) {
    const auto backoff = backoff_.delay(options_.retry_base, options_.retry_cap, entry.failures);
    delay = std::max(backoff, verdict.error.retry_after);
    // Once for a trouble, not for each of a thousand tries.
    if (entry.failures == 1) {
      log_.warn("object not taken yet",
                {{"bucket", entry.name.bucket}, {"key", entry.name.key}, {"error", verdict.error}});
    }
  }
  set_waiting(entry, State::waiting, verdict.kind);
  entry.timer = loop_.start_timer(delay, [this, id] {
    enqueue(id, entries_.at(id));
    pump();
  });
}

void Candidates::erase(const std::string& id) {
  entries_.erase(id);
  gauge_.set(static_cast<std::int64_t>(entries_.size()));
}

void Candidates::release(Waiters waiters, const Result<void>& result) {
  for (const auto& waiter : waiters) {
    if (!result && waiter->result) waiter->result = result;
    if (--waiter->left == 0 || !result) waiter->done.set(true);
  }
}

Task<Result<void>> Candidates::room(std::stop_token stop) {
  while (full() && !stop.stop_requested() && !closed_) {
    const OneShot<bool> woken(loop_);
    room_waiters_.push_back(woken);
    const std::stop_callback on_stop(stop, [woken] { woken.set(false); });
    co_await woken.wait();
  }
  if (stop.stop_requested() || closed_) co_return fail(Errc::cancelled, "cancelled while waiting for room");
  co_return Result<void>();
}

void Candidates::wake_room() {
  if (full() && !closed_) return;
  for (const auto& waiter : std::exchange(room_waiters_, {})) waiter.set(true);
}

Task<Result<void>> Candidates::settled(std::stop_token stop) {
  const auto waiter = std::make_shared<Waiter>(loop_);
  for (auto& [id, entry] : entries_) {
    const bool twice = entry.state == State::examining && entry.again;
    (twice ? entry.waiters_again : entry.waiters).push_back(waiter);
    ++waiter->left;
    // Who asks wants to know now; only a file that settles has a time of its own.
    if (entry.state == State::waiting && entry.why != Verdict::Kind::settling) enqueue(id, entry);
  }
  if (waiter->left == 0) co_return Result<void>();
  pump();
  {
    const std::stop_callback on_stop(stop, [waiter] { waiter->done.set(false); });
    const bool told = co_await waiter->done.wait();
    if (told) co_return waiter->result;
  }
  for (auto& [id, entry] : entries_) {
    std::erase(entry.waiters, waiter);
    std::erase(entry.waiters_again, waiter);
  }
  co_return fail(Errc::cancelled, "cancelled while files of the inputs were looked at");
}

Task<void> Candidates::close() {
  closed_ = true;
  queue_.clear();
  const auto stopped = fail(Errc::cancelled, "shutting down");
  for (auto& [id, entry] : entries_) {
    entry.timer.reset();
    release(std::exchange(entry.waiters, {}), stopped);
    release(std::exchange(entry.waiters_again, {}), stopped);
  }
  std::erase_if(entries_, [](const auto& entry) { return entry.second.state != State::examining; });
  writers_ = 0;
  wake_room();
  co_await group_.join();
}

}  // namespace millrace
