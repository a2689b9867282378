#include "state/sqlite/worker.h"

#include <algorithm>
#include <chrono>

namespace millrace::sqlite {

Worker::Worker(EventLoop& loop, std::unique_ptr<Database> database, Options options, Meters meters)
    : loop_(loop),
      options_(options),
      meters_(meters),
      room_(loop, options.room),
      closed_(loop),
      database_(std::move(database)),
      thread_([this] { work(); }) {}

Worker::~Worker() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
}

Task<void> Worker::close() {
  // Whoever waits for room was there before: with all of it in hand, nothing is queued, running or about to be.
  const auto everything = co_await room_.acquire(room_.capacity());
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  co_await closed_.wait();
  thread_.join();
}

void Worker::submit(std::unique_ptr<Job> job, Urgency urgency) {
  const auto linger = company_.arrive(loop_.now());
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(job));
    if (urgency == Urgency::patient && !prompt_ && linger.count() > 0) {
      if (!lingering_) lingering_ = loop_.start_timer(linger, [this] { flush(); });
      return;
    }
  }
  flush();
}

void Worker::flush() {
  lingering_.reset();
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    prompt_ = !queue_.empty();
    wake = prompt_ && std::exchange(idle_, false);
  }
  if (wake) wake_.notify_one();  // a busy thread looks by itself, which saves the loop a system call
}

void Worker::work() {
  for (;;) {
    Jobs batch;
    {
      std::unique_lock lock(mutex_);
      idle_ = !prompt_;
      wake_.wait(lock, [this] { return closing_ || prompt_; });
      idle_ = false;
      while (!queue_.empty() && batch.size() < options_.batch_max) {
        batch.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
      prompt_ = !queue_.empty();
    }
    if (batch.empty()) break;
    run_batch(batch);
    loop_.post([jobs = std::move(batch)] {
      for (const auto& job : jobs) job->answer();
    });
  }
  database_.reset();  // may copy the log into the file, which takes a moment: not on the loop
  loop_.post([closed = closed_] { closed.set(true); });
}

void Worker::run_batch(const Jobs& batch) {
  const auto start = std::chrono::steady_clock::now();
  if (const auto done = run_in_transaction(batch); !done) {
    for (const auto& job : batch) job->undone(done.error());
  }
  const auto took = std::chrono::steady_clock::now() - start;
  meters_.jobs.add(batch.size());
  meters_.transactions.add();
  meters_.duration.observe_us(
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
}

Result<void> Worker::run_in_transaction(const Jobs& batch) {
  Database& database = *database_;
  const bool sync = std::ranges::any_of(batch, [](const auto& job) { return job->durability() == Durability::synced; });
  Result<void> done = database.sync_commits(sync);
  if (done) done = database.query(options_.begin).run();
  if (!done) return done;
  for (const auto& job : batch) {
    done = database.query("SAVEPOINT job").run();
    if (!done) break;
    if (const Error* error = job->run(database)) {
      // Some errors, a full disk among them, make SQLite take the whole transaction back at once.
      done = database.in_transaction() ? database.query("ROLLBACK TO job").run() : fail(*error);
    }
    if (done) done = database.query("RELEASE job").run();
    if (!done) break;
  }
  if (done) done = database.query("COMMIT").run();
  if (!done && database.in_transaction()) (void)database.query("ROLLBACK").run();
  return done;
}

}  // namespace millrace::sqlite
