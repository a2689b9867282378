// The run table: what is going on right now, for people, for cancelling, and so that nobody works on a run twice in one
// process. What is over is in the state store; a queued run is known here from its publish (a bounded number of them).
//
// Threads: the domain loop.
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/event.h"
#include "core/ids.h"
#include "core/run.h"

namespace millrace {

struct LiveRun {
  RunId run_id;
  EventId event_id;
  std::string function;
  std::string key;  // of the input object, if any
  RunState state = RunState::queued;
  WallTime since{};  // in this state
  WallTime queued_at{};
  std::uint32_t failures = 0;
  std::uint32_t losses = 0;
};

class RunTable {
 public:
  // `queued_max`: how many runs that wait, for their first attempt or the next, are remembered; beyond that the oldest
  // are forgotten (not lost: they are in the broker), and asking for one says so.
  explicit RunTable(std::size_t queued_max = 100'000) : queued_max_(queued_max) {}

  void queued(LiveRun run);

  // Work on a run begins here: at most one Active exists per run id. Ends with its destructor, which forgets the run,
  // or with waits_for_retry().
  class Active {
   public:
    Active(RunTable& table, LiveRun run);
    Active(const Active&) = delete;
    Active& operator=(const Active&) = delete;
    ~Active();

    void state(RunState state, WallTime now);
    void counters(std::uint32_t failures, std::uint32_t losses);
    [[nodiscard]] std::stop_token cancel_requested() const { return cancel_.get_token(); }
    // The run waits for its next attempt, which may come before this object goes: nothing is to be called afterwards.
    void waits_for_retry(WallTime now);

   private:
    friend class RunTable;
    RunTable& table_;
    LiveRun run_;
    bool over_ = false;
    std::stop_source cancel_;
  };

  [[nodiscard]] bool active(const RunId& run_id) const { return active_.contains(run_id); }

  // Requests the stop of an active run, or marks a queued one so that it is cancelled when its turn comes. False when
  // nothing is known of it.
  [[nodiscard]] bool cancel(const RunId& run_id);
  [[nodiscard]] bool take_cancelled(const RunId& run_id);

  [[nodiscard]] std::optional<LiveRun> find(const RunId& run_id) const;
  [[nodiscard]] std::vector<LiveRun> list(std::string_view function, std::size_t limit) const;  // active first
  [[nodiscard]] std::size_t active_count() const { return active_.size(); }

 private:
  struct Waiting {
    LiveRun run;
    bool cancelled = false;
  };

  std::size_t queued_max_;
  std::unordered_map<RunId, Active*> active_;
  std::list<Waiting> waiting_;  // at most queued_max_, the oldest first
  std::unordered_map<RunId, std::list<Waiting>::iterator> waiting_by_id_;
};

}  // namespace millrace
