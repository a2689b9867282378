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
#include <utility>
#include <vector>

#include "core/event.h"
#include "core/ids.h"
#include "core/run.h"
#include "engine/live_run.h"

namespace millrace {

class RunTable {
 public:
  // `queued_max`: how many runs that wait, for their first attempt or the next, are remembered; beyond that the oldest
  // are forgotten (not lost: they are in the broker), and asking for one says so. As many again that wait to be
  // cancelled are not forgotten.
  explicit RunTable(std::size_t queued_max = 100'000) : queued_max_(queued_max) {}

  // All listeners, before the first run. They outlive the table.
  void listen(RunListener& listener) { listeners_.push_back(&listener); }

  // True when the run was not known. Before its publish: what is told afterwards may be over already.
  bool queued(LiveRun run);
  // A run whose publish added nothing, if it still waits for its first attempt.
  void not_queued(const RunId& run_id);

  // One that waits here was run by another node.
  void forget(const RunId& run_id);
  // What waited on a topic for a function, or for any ("" as its name), was thrown away. What is in work now does not
  // come back to wait either.
  void forget_waiting(std::string_view topic, std::string_view function);

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
    // Its end is on record; told when this object goes, unless the run waits again until its outputs are placed.
    void ended(RunEnd end) { end_ = std::move(end); }
    // The run waits for its next attempt, which may come before this object goes: nothing is to be called afterwards.
    void waits_for_retry(WallTime now);

   private:
    friend class RunTable;
    RunTable& table_;
    LiveRun run_;
    std::optional<RunEnd> end_;
    bool over_ = false;
    bool thrown_away_ = false;
    std::stop_source cancel_;
  };

  [[nodiscard]] bool active(const RunId& run_id) const { return active_.contains(run_id); }

  // Requests the stop of an active run, or marks a queued one so that it is cancelled when its turn comes. False when
  // nothing is known of it, or when too many wait for that.
  [[nodiscard]] bool cancel(const RunId& run_id);
  [[nodiscard]] bool take_cancelled(const RunId& run_id);

  [[nodiscard]] std::optional<LiveRun> find(const RunId& run_id) const;
  [[nodiscard]] std::vector<LiveRun> list(std::string_view function, std::size_t limit) const;  // active first
  [[nodiscard]] std::size_t active_count() const { return active_.size(); }
  [[nodiscard]] std::size_t waiting_count(std::string_view function) const;  // empty: of all
  // As many wait as are remembered: some may have been forgotten.
  [[nodiscard]] bool full() const { return waiting_.size() >= queued_max_; }

 private:
  struct Waiting {
    LiveRun run;
    bool cancelled = false;
  };

  using Place = std::list<Waiting>::iterator;

  void tell(const LiveRun& run) const;
  void erase(Place waiting);

  std::size_t queued_max_;
  std::vector<RunListener*> listeners_;
  std::unordered_map<RunId, Active*> active_;
  std::list<Waiting> waiting_;    // at most queued_max_, the oldest first
  std::list<Waiting> cancelled_;  // those that wait to be cancelled; at most queued_max_
  std::unordered_map<RunId, Place> waiting_by_id_;
};

}  // namespace millrace
