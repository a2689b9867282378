// One connection's queue: takes what the store is asked, sends it in batches, hands the answers back.
//
//   auto answer = co_await writer.run(std::move(query), Urgency::patient);
//
// The writing lane puts everything that is queued when the batch before is done into one transaction, up to
// `batch_max` statements: they share one sync of the server's log, and each is answered once the COMMIT is. When many
// come, a patient one waits for the next that is in a hurry, for a while. A statement that the server refuses spoils
// its batch: then each of the batch goes alone, so that only the one to blame is told. The reading lane sends each
// statement on its own, several at once.
//
// While the server is away, calls wait for it for a moment; then all are answered `unavailable` until it is back. So is
// what was on its way when the connection broke: it may have happened.
//
// Thread: the loop.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "core/company.h"
#include "core/error.h"
#include "state/postgres/answer.h"
#include "state/postgres/link.h"
#include "state/postgres/statement.h"
#include "telemetry/metrics.h"

namespace millrace::postgres {

enum class Urgency : std::uint8_t { prompt, patient };

class Lane final : Link::User {
 public:
  struct Options {
    bool in_transactions = false;
    std::size_t batch_max = 1;
    std::size_t batch_bytes_max = 8 << 20;
    std::size_t in_flight_max = 1;              // batches
    std::size_t room = 1;                       // units of kUnitBytes of all that is queued or on its way
    std::chrono::milliseconds patience{2'000};  // for a server that is away
  };
  struct Meters {
    Counter& waits;  // calls that found no room
    Counter& jobs;
    Counter& transactions;
    Counter& repeats;     // calls sent again alone, since their batch was spoiled
    Histogram& duration;  // of a batch, its sync included
  };

  // Calls are admitted by size: a burst of long log tails is as bounded as one of short marks.
  static constexpr std::size_t kUnitBytes = 4096;

  Lane(EventLoop& loop, std::unique_ptr<Link> link, Options options, Meters meters);
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  void start(ConnectionPtr connection) { link_->start(*this, std::move(connection)); }

  [[nodiscard]] Task<Result<Answer>> run(Query query, Urgency urgency = Urgency::prompt);

  // Answers what is queued, closes the connection. Nothing is asked afterwards.
  [[nodiscard]] Task<void> close();

 private:
  struct Call {
    Query query;
    OneShot<Result<Answer>> done;
    int conflicts = 0;
  };
  using Calls = std::vector<std::unique_ptr<Call>>;
  struct Batch {
    Calls calls;                     // none: it takes a spoiled transaction back
    std::vector<ResultPtr> results;  // of every statement sent, ours around them included
    EventLoop::TimePoint started{};
  };

  void on_up() override;
  void on_result(ResultPtr result) override;
  void on_sync() override;
  void on_down(const Error& why) override;

  void submit(std::unique_ptr<Call> call, Urgency urgency);
  void flush();
  void pump();
  Calls take_calls();
  void send(Calls calls);
  void settle(Batch batch);
  void answer(Batch& batch);
  void spoiled(Batch& batch, const PGresult* culprit);
  void give_up();
  [[nodiscard]] Error away() const;

  EventLoop& loop_;
  std::unique_ptr<Link> link_;
  const Options options_;
  Meters meters_;
  Semaphore room_;
  Company company_;
  std::deque<std::unique_ptr<Call>> queue_;
  std::deque<Batch> in_flight_;
  std::size_t alone_ = 0;  // so many at the head of the queue go one by one
  bool prompt_ = false;    // the queue is not to wait any longer
  bool given_up_ = false;  // the server has been away for too long
  std::string why_down_;
  std::unique_ptr<EventLoop::Handle> lingering_;  // set while patient calls wait for company
  std::unique_ptr<EventLoop::Handle> patience_;   // set while calls wait for the server
};

}  // namespace millrace::postgres
