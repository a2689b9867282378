// The sweeper: goes on where a crash stopped. Committed rows that miss a mark are placed and published; attempts that
// nobody runs any more lose their directories. It settles no delivery, and reads rows, but for a walk through our
// part of the buckets at the start: a power cut may have taken an attempt's row, or brought back a directory that was
// removed.
//
// Threads: the domain loop.
#pragma once

#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "async/event_loop.h"
#include "async/task.h"
#include "core/ids.h"
#include "engine/finish.h"
#include "engine/nodes.h"
#include "engine/run_table.h"
#include "state/state_store.h"
#include "storage/output_store.h"
#include "telemetry/log.h"

namespace millrace {

struct SweeperOptions {
  std::chrono::milliseconds every = std::chrono::seconds(10);
  // A row or an attempt younger than this may still be in somebody's hands: longer than the longest lease.
  std::chrono::milliseconds age_min = std::chrono::minutes(2);
  std::size_t batch = 100;
  bool alone = false;  // no other daemon has this state store
};

class Sweeper {
 public:
  Sweeper(EventLoop& loop, StateStore& state, OutputStore& outputs, Finish& finish, const RunTable& runs,
          std::string node, SweeperOptions options, Log& log);

  // Several nodes share the rows: each clears up its own past, the first of the living that of the dead. What a living
  // node has in hand is nobody else's, however old it is.
  void heed(Nodes& nodes) { nodes_ = nodes.shared() ? &nodes : nullptr; }

  // At start, before the first delivery is taken: nothing that this node began is alive, whatever the clock says of it.
  [[nodiscard]] Task<void> drop_own_attempts();

  // At start: the rows from before `started`, whatever their age. The functions must be known by then: what is
  // published to nobody counts as published.
  [[nodiscard]] Task<void> sweep_own_past(WallTime started);

  // Until stopped. Walks through the buckets once.
  [[nodiscard]] Task<void> run(std::stop_token stop);

  // The directory of an attempt that will not run, or is over, could not be removed.
  void left(AttemptPlace place);

 private:
  // A batch of them; false at the end of the list: the next call begins at the oldest again.
  Task<bool> finish_rows(WallTime before, bool own_only);
  Task<void> finish(RunRecord row);
  Task<void> drop_open_attempts(WallTime before, bool own_only);
  Task<void> drop_if_nobodys(Attempt attempt, bool own_only, const Nodes::Living* living);
  // Whether this node may clear up what `node` did then; `living`: null where this node is the only one.
  [[nodiscard]] bool is_ours(const std::string& node, WallTime then, const Nodes::Living* living) const;
  [[nodiscard]] bool is_old(WallTime then) const;
  Task<void> drop_stale_directories();
  // Directories of this store's attempts that no row claims; false if they could not be looked through.
  Task<bool> drop_unclaimed_directories(std::stop_token stop);
  Task<Result<std::size_t>> drop_unclaimed(std::vector<FoundAttempt> found);
  Task<void> drop_left();
  Task<void> drop(Attempt attempt);

  EventLoop& loop_;
  StateStore& state_;
  OutputStore& outputs_;
  Finish& finish_;
  const RunTable& runs_;
  Nodes* nodes_ = nullptr;
  std::string node_;
  SweeperOptions options_;
  Log& log_;
  // Rows whose outputs cannot be placed: their event is a dead letter, and a redrive goes on. Not tried again by us
  // before the next start.
  std::set<RunId> unplaceable_;
  std::set<RunId> met_;  // those of them that the present walk through the list has met
  RunId after_;          // where the walk goes on
  std::vector<AttemptPlace> left_;
  std::vector<FoundAttempt> doubtful_;  // no row claims them, but somebody may be at work there
};

}  // namespace millrace
