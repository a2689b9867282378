// Candidates: names that may hold a new object, from a notification or a scan until each is published or turned out to
// be nothing. One entry a name, however often it is told; a bounded number of them is examined at a time.
//
//   candidates.add({"videos", "in/a.avi"});
//   auto room = co_await candidates.room(stop);      // before reading on: a full house is the source's back-pressure
//   auto settled = co_await candidates.settled();    // everything added so far has its receipt
//
// Bounds: those who add wait for room() first, so at most `candidates_max` and what one read brings; names that a
// writer holds open are counted apart, up to `writers_max`, and then forgotten: the writer's close tells of them again.
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/task.h"
#include "async/task_group.h"
#include "core/backoff.h"
#include "core/error.h"
#include "core/event.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

struct ObjectName {
  std::string bucket;
  std::string key;
};

// A version that must stay as it is for a while.
struct Settling {
  ObjectVersion version;
  EventLoop::TimePoint since;
};

// What an examination found.
struct Verdict {
  enum class Kind : std::uint8_t {
    done,      // published, or nothing to publish
    writer,    // somebody has it open for writing
    settling,  // look again after `wait`
    failed,    // look again later: `error`
  };

  Kind kind = Kind::done;
  EventLoop::Duration wait{0};
  std::optional<Settling> settling;
  bool changed = false;  // settling: it was modified since the look before
  Error error;
};

class CandidateExaminer {
 public:
  virtual ~CandidateExaminer() = default;

  // `settling`: what the last verdict about this name said.
  virtual Task<Verdict> examine(ObjectName name, std::optional<Settling> settling) = 0;
};

class Candidates {
 public:
  struct Options {
    std::size_t candidates_max = 10'000;
    std::size_t concurrent_max = 64;
    std::size_t writers_max = 10'000;
    // A writer that opened the file by another name closes it without telling us: such names are looked at again.
    std::chrono::milliseconds writer_base{100};
    std::chrono::milliseconds writer_cap{30'000};
    std::chrono::milliseconds retry_base{100};
    std::chrono::milliseconds retry_cap{30'000};
  };

  Candidates(EventLoop& loop, CandidateExaminer& examiner, Options options, Metrics& metrics, Log& log);
  Candidates(const Candidates&) = delete;
  Candidates& operator=(const Candidates&) = delete;

  void add(ObjectName name);

  // `cancelled` when stopped first.
  [[nodiscard]] Task<Result<void>> room(std::stop_token stop);

  // Returns when every name there is has been examined to an end after this call. A name does not hold it up while a
  // writer has it open or was seen changing it; one whose examination fails makes the result that error at once, and
  // stays. `cancelled` when stopped first.
  [[nodiscard]] Task<Result<void>> settled(std::stop_token stop = {});

  // Lets what is being examined finish and forgets the rest: a scan at the next start finds it.
  [[nodiscard]] Task<void> close();

  [[nodiscard]] std::size_t size() const { return entries_.size(); }

 private:
  enum class State : std::uint8_t { queued, examining, waiting };

  // Somebody in settled().
  struct Waiter {
    explicit Waiter(EventLoop& loop) : done(loop) {}
    std::size_t left = 0;
    Result<void> result;
    OneShot<bool> done;
  };
  using Waiters = std::vector<std::shared_ptr<Waiter>>;  // shared by all the names it waits for

  struct Entry {
    ObjectName name;
    State state = State::queued;
    Verdict::Kind why = Verdict::Kind::done;  // of waiting
    bool again = false;                       // told once more while being examined
    std::optional<Settling> settling;
    std::uint32_t failures = 0;
    std::uint32_t writer_looks = 0;
    std::unique_ptr<EventLoop::Handle> timer;
    Waiters waiters;        // for the examination that is on or due
    Waiters waiters_again;  // for the one after it
  };
  using Entries = std::unordered_map<std::string, Entry>;  // its references last

  void enqueue(const std::string& id, Entry& entry);
  void pump();
  Task<void> examine(std::string id);
  void conclude(const std::string& id, Entry& entry, Verdict verdict);
  void wait(const std::string& id, Entry& entry, Verdict verdict);
  void erase(const std::string& id);
  void set_waiting(Entry& entry, State state, Verdict::Kind why);
  static void release(Waiters waiters, const Result<void>& result);
  [[nodiscard]] bool full() const { return entries_.size() - writers_ >= options_.candidates_max; }
  void wake_room();

  EventLoop& loop_;
  CandidateExaminer& examiner_;
  Options options_;
  Gauge& gauge_;
  Counter& forgotten_;
  Log& log_;
  Backoff backoff_;
  Entries entries_;
  std::deque<std::string> queue_;
  std::size_t examining_ = 0;
  std::size_t writers_ = 0;
  bool pumping_ = false;
  bool closed_ = false;
  std::vector<OneShot<bool>> room_waiters_;
  TaskGroup group_;
};

}  // namespace millrace
