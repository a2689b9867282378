// A connection that is driven by the loop and made anew when it breaks: statements go out in a pipeline, answers come
// back in order, and what breaks is told once.
//
//   link.send(query);              // any number
//   link.sync();                   // their end: a point up to which an error spoils what follows
//   -> on_result() for each query, then on_sync(); or on_down(), and nothing of what was on its way comes any more
//
// A broken link is dialled again, with pauses that grow and are spread, until it is closed.
// Thread: the loop; dialling happens on a thread of the pool.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "async/task.h"
#include "async/task_group.h"
#include "core/backoff.h"
#include "core/error.h"
#include "core/fd.h"
#include "state/postgres/dial.h"
#include "state/postgres/statement.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace::postgres {

class Link {
 public:
  class User {
   public:
    virtual ~User() = default;
    virtual void on_up() = 0;
    virtual void on_result(ResultPtr result) = 0;  // a good one, or an error of the server
    virtual void on_sync() = 0;
    virtual void on_down(const Error& why) = 0;
  };

  struct Options {
    const char* side;                              // for log and metrics
    std::chrono::milliseconds answer_max{70'000};  // without a word of the server; its own limit for one is shorter
    std::chrono::milliseconds redial_base{50};
    std::chrono::milliseconds redial_cap{5'000};
  };
  struct Meters {
    Gauge& connected;
    Counter& reconnects;
  };

  Link(EventLoop& loop, BlockingPool& dialler, Dialing dialing, Options options, Log& log, Meters meters);
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;
  ~Link();

  // Once, before anything else; `user` outlives the link.
  void start(User& user, ConnectionPtr connection);

  [[nodiscard]] bool is_up() const { return connection_ != nullptr; }
  [[nodiscard]] const std::string& name() const { return dialing_.address.name; }

  // While it is up. What cannot be sent is told by on_down() in a later step.
  void send(const Query& query);
  void sync();

  [[nodiscard]] Task<void> close();

 private:
  void attach(ConnectionPtr connection);
  void readable();
  void flush();
  void take_results();
  void break_soon();
  void lost(const Error& why);
  void watch_answers();
  Task<void> redial();

  EventLoop& loop_;
  BlockingPool& dialler_;
  const Dialing dialing_;
  const Options options_;
  Log& log_;
  Meters meters_;
  Backoff backoff_;
  User* user_ = nullptr;
  ConnectionPtr connection_;
  Fd write_side_;                // a copy of its descriptor: one watch each
  std::size_t outstanding_ = 0;  // results and syncs that are to come
  bool closing_ = false;
  EventLoop::TimePoint heard_{};
  TaskGroup tasks_;
  std::unique_ptr<EventLoop::Handle> reading_;
  std::unique_ptr<EventLoop::Handle> writing_;  // while there is more than the socket takes
  std::unique_ptr<EventLoop::Handle> breaking_;
  std::unique_ptr<EventLoop::Handle> answers_;
};

}  // namespace millrace::postgres
