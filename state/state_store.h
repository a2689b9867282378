// The state store port: what must be remembered and agreed on. Three small stores behind one door.
//
//   auto won = co_await state.runs().commit(std::move(record));    // create-only: the first one stands
//   co_await state.runs().mark(run_id, {.placed = true, .published = true, .seen = std::move(seen)});
//
// Every write is durable when its task returns (SQLite: many writers share one sync). Nothing here is ever half done. A
// write whose task is dropped may happen or not.
//
// Errors of every call, besides those named: `no_space`, `data_loss` (the file is corrupt, the message names it),
// `unavailable` (locked or an I/O error), `invalid_argument` for an empty id or a limit out of bounds.
//
// Threads: called on the domain loop, resumes there.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "async/task.h"
#include "core/error.h"
#include "core/function_spec.h"
#include "core/run.h"
#include "state/shared_state.h"

namespace millrace {

// Functions as they were applied, newest revision each.
class FunctionStore {
 public:
  virtual ~FunctionStore() = default;

  // Writes a new revision; uid and revision are the caller's. Where several daemons share the store, `aborted` if what
  // stands is of this revision or a later one: another daemon was faster.
  virtual Task<Result<void>> put(FunctionSpec function) = 0;
  virtual Task<Result<void>> remove(std::string name) = 0;    // run records stay; `not_found`
  virtual Task<Result<std::vector<FunctionSpec>>> all() = 0;  // sorted by name
};

// Rows of the seen store: by trigger, then by key.
using SeenRows = std::map<std::string, std::map<std::string, EventId>>;

// What is done for a run; what is false here stays as it is.
struct RunMarks {
  bool placed = false;
  bool published = false;
  SeenRows seen = {};  // of its own outputs, written in the same step
};

struct CommitResult {
  bool won = true;     // false: another attempt's record stands
  RunRecord standing;  // the record that stands, ours or theirs
};

struct RunFilter {
  std::string function;  // empty: all
  std::optional<RunOutcome> outcome;
  std::optional<WallTime> since;  // committed at or after
  RunId before;                   // page on: older than this run; empty: from the newest
  std::size_t limit = 100;        // 1 to kRunListMax
};

// A finished run that nothing in the store needs any more, and what of it lies in a bucket.
struct OldRun {
  RunId run_id;
  EventId event_id;
  std::string bucket;
  AttemptToken token;  // of its directory with the private copies; empty: it has none
};

// Bounds of one answer with several records. One that reaches kListedOutputsMax outputs ends after that record.
inline constexpr std::size_t kRunListMax = 1'000;
inline constexpr std::size_t kListedOutputsMax = 200'000;

class RunStore {
 public:
  virtual ~RunStore() = default;

  // An attempt is about to run. The record that stands, if its run has one: then nothing has begun, and nothing may
  // run. `already_exists` for a token that is known. A power cut may take the row, until a later commit is answered;
  // nothing else does.
  virtual Task<Result<std::optional<RunRecord>>> begin_attempt(Attempt attempt) = 0;
  // How it ended, unless that is known already. `not_found` for a token that never began.
  virtual Task<Result<void>> end_attempt(Attempt attempt) = 0;
  // The same for an attempt whose worker went away: true if this call ended it; false if it has an end, or a row names
  // it, since whoever asked has looked. Only after true its directory is nobody's.
  virtual Task<Result<bool>> abandon_attempt(Attempt attempt) = 0;
  virtual Task<Result<std::vector<Attempt>>> attempts(RunId run_id) = 0;  // by start

  // Attempts without an end that no row names and that started before `before`: what runs, and what a dead worker left.
  // By start, those after the attempt `after` (empty: from the first; one that is not known: none).
  virtual Task<Result<std::vector<Attempt>>> open_attempts(WallTime before, AttemptToken after, std::size_t limit) = 0;
  // Ended attempts whose directory is still there and holds nothing that a row needs: `forget_directory` once it is
  // removed. Never a succeeded one of a run without a row: its commit may be on the way. Where outputs of a failed
  // attempt are published, record its end after the commit.
  virtual Task<Result<std::vector<Attempt>>> stale_directories(std::size_t limit) = 0;
  // Idempotent. A power cut may take it back.
  virtual Task<Result<void>> forget_directory(AttemptToken token) = 0;
  // Of these attempts (at most kRunListMax) those whose directory no row claims: they never began as far as is known
  // after a power cut, or their directory is forgotten.
  virtual Task<Result<std::vector<AttemptToken>>> unclaimed_directories(std::vector<AttemptToken> tokens) = 0;

  // Create-only: of all records of one run id the first stands. `too_large` beyond kLogTailBytesMax. A success or a
  // skip without outputs ends its attempt, if nobody has: its directory then is one that holds nothing that a row
  // needs. `aborted` for a record with outputs whose attempt was ended as lost: its directory is somebody else's to
  // remove, and what it names may be gone already.
  virtual Task<Result<CommitResult>> commit(RunRecord record) = 0;
  virtual Task<Result<void>> mark(RunId run_id, RunMarks marks) = 0;  // idempotent; `not_found`
  virtual Task<Result<std::optional<RunRecord>>> get(RunId run_id) = 0;

  // Lists come without log tail and result.
  virtual Task<Result<std::vector<RunRecord>>> list(RunFilter filter) = 0;  // newest first; `not_found`: its `before`
  // Rows that miss a mark and were committed before `before`, oldest first, those after the run `after` (empty: from
  // the oldest; one without a row: none); for the sweeper.
  virtual Task<Result<std::vector<RunRecord>>> unfinished(WallTime before, RunId after, std::size_t limit) = 0;
  // The greatest order of all runs on record, of whichever daemon; empty when there is no run.
  virtual Task<Result<Order>> newest_order() = 0;
  // Runs that an event started: the steps downwards of a causal chain. By event id, or by the run that caused them.
  // Oldest first, at most kRunListMax.
  virtual Task<Result<std::vector<RunRecord>>> of_event(EventId event_id) = 0;
  virtual Task<Result<std::vector<RunRecord>>> caused_by(RunId run_id) = 0;

  // For retention. A run is finished when it is committed with both marks, or got the second one, by this host's clock.
  //
  // When the run was committed that has `count` later ones; none where there are fewer.
  virtual Task<Result<std::optional<WallTime>>> committed_before_last(std::size_t count) = 0;
  // Runs that were finished before `before`, oldest first, those after the run `after` (empty: from the oldest; one
  // without a row: none). Not those with an attempt that is open or has left a directory; whose cause is unfinished,
  // since its events may be published again; of which a later generation stands, since the next one is counted from
  // there.
  virtual Task<Result<std::vector<OldRun>>> removable(WallTime before, RunId after, std::size_t limit) = 0;
  // Removes those of these runs that are finished and have no attempt that is open or has left a directory, with their
  // outputs and attempts, in one step. At most kRunListMax; returns how many.
  virtual Task<Result<std::size_t>> remove(std::vector<RunId> run_ids) = 0;
  // Removes attempts that started before `before`, oldest first, and have an end, no directory and no run's row: what
  // is left of an event that was purged. Returns how many.
  virtual Task<Result<std::size_t>> remove_lone_attempts(WallTime before, std::size_t limit) = 0;
};

// What a trigger (one input of one function) has published, by key: the event's id. A scan publishes what differs.
class SeenStore {
 public:
  virtual ~SeenStore() = default;

  virtual Task<Result<std::map<std::string, EventId>>> all(std::string trigger) = 0;
  virtual Task<Result<std::optional<EventId>>> get(std::string trigger,
                                                   std::string key) = 0;  // one row, if it is there
  virtual Task<Result<void>> put(std::string trigger, std::map<std::string, EventId> rows) = 0;
  virtual Task<Result<void>> remove(std::string trigger, std::vector<std::string> keys) = 0;
  // Replaces all rows of a trigger in one step; the first fill at apply.
  virtual Task<Result<void>> fill(std::string trigger, std::map<std::string, EventId> rows) = 0;
  // True once fill() has happened for the trigger.
  virtual Task<Result<bool>> filled(std::string trigger) = 0;
  virtual Task<Result<void>> drop(std::string trigger) = 0;
};

inline constexpr std::size_t kStoreIdLength = 8;

class StateStore {
 public:
  virtual ~StateStore() = default;

  // kStoreIdLength hex digits, made with the store: its attempts' tokens start with them, so that the directories that
  // several stores' runs make in one bucket can be told apart.
  [[nodiscard]] virtual const std::string& id() const = 0;

  virtual FunctionStore& functions() = 0;
  virtual RunStore& runs() = 0;
  virtual SeenStore& seen() = 0;
  [[nodiscard]] virtual SharedState* shared() { return nullptr; }  // null: it serves one daemon

  // Finishes what was asked. Nothing may be called afterwards. Destroying an open store finishes its writes, too, but
  // blocks the thread for that long and answers nobody.
  virtual Task<void> close() = 0;
};

}  // namespace millrace
