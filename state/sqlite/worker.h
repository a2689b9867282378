// One thread with one connection: takes what the loop has queued, runs it in transactions, and posts the answers back.
//
//   auto won = co_await writer.run([record = std::move(record)](Database& db) { return commit(db, record); }, bytes);
//
// Everything queued when the thread looks goes into one transaction, up to `batch_max` jobs, so that they share one
// sync: the more writers, the larger the batches. A batch of nothing but jobs that need none syncs nothing. When many
// come, a patient job waits for the next one that is in a hurry, for a while. A job that fails takes only its own
// changes back; when the commit fails, all of the batch fail. A batch's answers arrive on the loop in one post.
//
// Thread: run() on the loop; jobs run on the worker's thread.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "core/company.h"
#include "core/error.h"
#include "state/sqlite/database.h"
#include "telemetry/metrics.h"

namespace millrace::sqlite {

// Writes are admitted by size, in units of a page: a burst of long log tails is as bounded as one of short marks.
inline constexpr std::size_t kWriteUnitBytes = 4096;
[[nodiscard]] constexpr std::size_t write_units(std::size_t bytes) {
  return 1 + bytes / kWriteUnitBytes;
}

enum class Urgency : std::uint8_t { prompt, patient };

// What a power cut may take of a job that was answered: nothing, or all of it until the next synced job is answered.
enum class Durability : std::uint8_t { synced, written };

class Worker {
 public:
  struct Options {
    const char* begin = "BEGIN";  // or BEGIN IMMEDIATE, for writing
    std::size_t batch_max = 1;    // jobs of one transaction
    std::size_t room = 1;         // units of all jobs that are queued or running; further ones wait in run()
  };
  struct Meters {
    Counter& waits;  // jobs that found no room
    Counter& jobs;
    Counter& transactions;
    Histogram& duration;  // of a transaction, its sync included
  };

  Worker(EventLoop& loop, std::unique_ptr<Database> database, Options options, Meters meters);
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  ~Worker();  // runs what is queued, then closes the connection

  // Runs `work(Database&)`, which returns a Result, within a transaction. It may be run and its effect be taken back.
  template <class Work>
  [[nodiscard]] Task<std::invoke_result_t<Work&, Database&>> run(Work work, std::size_t units,
                                                                 Urgency urgency = Urgency::prompt,
                                                                 Durability durability = Durability::synced) {
    using Value = std::invoke_result_t<Work&, Database&>;
    units = std::min(units, room_.capacity());
    if (room_.waiting() != 0 || room_.free() < units) meters_.waits.add();
    const auto permit = co_await room_.acquire(units);
    const OneShot<Value> done(loop_);
    submit(std::make_unique<JobOf<Work, Value>>(std::move(work), durability, done), urgency);
    auto value = co_await done.wait();
    co_return std::move(value);
  }

  // Runs what is queued, closes the connection, ends the thread. Nothing is submitted afterwards.
  [[nodiscard]] Task<void> close();

 private:
  class Job {
   public:
    explicit Job(Durability durability) : durability_(durability) {}
    Job(const Job&) = delete;
    Job& operator=(const Job&) = delete;
    virtual ~Job() = default;
    virtual const Error* run(Database& database) = 0;  // worker's thread; why it failed, or nothing
    virtual void undone(const Error& error) = 0;       // worker's thread: the transaction was lost
    virtual void answer() = 0;                         // loop
    [[nodiscard]] Durability durability() const { return durability_; }

   private:
    Durability durability_;
  };
  using Jobs = std::vector<std::unique_ptr<Job>>;

  template <class Work, class Value>
  class JobOf final : public Job {
   public:
    JobOf(Work work, Durability durability, OneShot<Value> done)
        : Job(durability), work_(std::move(work)), done_(std::move(done)) {}
    const Error* run(Database& database) override {
      value_.emplace(work_(database));
      return value_->has_value() ? nullptr : &value_->error();
    }
    void undone(const Error& error) override {
      if (!value_ || value_->has_value()) value_.emplace(fail(error));
    }
    void answer() override { done_.set(std::move(*value_)); }

   private:
    Work work_;
    OneShot<Value> done_;
    std::optional<Value> value_;
  };

  void submit(std::unique_ptr<Job> job, Urgency urgency);
  void flush();
  void work();
  void run_batch(const Jobs& batch);
  [[nodiscard]] Result<void> run_in_transaction(const Jobs& batch);

  EventLoop& loop_;
  Options options_;
  Meters meters_;
  Semaphore room_;
  OneShot<bool> closed_;
  std::unique_ptr<Database> database_;            // the thread's, until it ends
  Company company_;                               // of all jobs
  std::unique_ptr<EventLoop::Handle> lingering_;  // set while patient jobs wait for company
  std::mutex mutex_;                              // guards what follows
  std::condition_variable wake_;
  std::deque<std::unique_ptr<Job>> queue_;
  bool prompt_ = false;  // the queue is not to wait any longer
  bool idle_ = false;
  bool closing_ = false;
  std::jthread thread_;
};

}  // namespace millrace::sqlite
