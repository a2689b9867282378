#include "state/memory/memory_state.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "async/sleep.h"
#include "state/checks.h"

namespace millrace {
namespace {

class MemoryFunctionStore final : public FunctionStore {
 public:
  explicit MemoryFunctionStore(EventLoop& loop) : loop_(loop) {}

  Task<Result<void>> put(FunctionSpec function) override {
    if (function.name.empty()) co_return fail(Errc::invalid_argument, "put a function: it has no name");
    co_await yield(loop_);
    const std::string name = function.name;
    functions_.insert_or_assign(name, std::move(function));
    co_return Result<void>();
  }

  Task<Result<void>> remove(std::string name) override {
    co_await yield(loop_);
    if (functions_.erase(name) == 0) co_return fail(Errc::not_found, "function '" + name + "' does not exist");
    co_return Result<void>();
  }

  Task<Result<std::vector<FunctionSpec>>> all() override {
    co_await yield(loop_);
    std::vector<FunctionSpec> functions;
    for (const auto& [name, function] : functions_) functions.push_back(function);
    co_return functions;
  }

 private:
  EventLoop& loop_;
  std::map<std::string, FunctionSpec> functions_;
};

enum class Directory : std::uint8_t { none, left, of_row };

// What a run's row holds besides its record.
struct RunLife {
  std::uint64_t number = 0;  // in the order of the commits
  WallTime finished_at{};    // once it has both marks
};

struct AttemptRow {
  Attempt attempt;
  bool named = false;
  Directory directory = Directory::none;
};

bool starts_earlier(const Attempt& a, const Attempt& b) {
  return std::tie(a.started_at, a.token) < std::tie(b.started_at, b.token);
}

bool committed_earlier(const RunRecord& a, const RunRecord& b) {
  return std::tie(a.committed_at, a.run_id) < std::tie(b.committed_at, b.run_id);
}

void put_seen(SeenRows& seen, const std::string& trigger, std::map<std::string, EventId> rows) {
  auto& standing = seen[trigger];
  for (auto& [key, event_id] : rows) standing.insert_or_assign(key, std::move(event_id));
}

void write_end(Attempt& row, Attempt ended) {
  row.ended_at = ended.ended_at;
  row.outcome = ended.outcome;
  row.exit_code = ended.exit_code;
  row.signal = ended.signal;
  row.message = std::move(ended.message);
  row.usage = ended.usage;
}

class MemoryRunStore final : public RunStore {
 public:
  MemoryRunStore(EventLoop& loop, SeenRows& seen) : loop_(loop), seen_(seen) {}

  Task<Result<std::optional<RunRecord>>> begin_attempt(Attempt attempt) override {
    if (auto checked = state::check_new(attempt); !checked) co_return fail(checked.error());
    co_await yield(loop_);
    if (const auto standing = runs_.find(attempt.run_id); standing != runs_.end()) co_return standing->second;
    const auto token = attempt.token;
    const bool added =
        attempts_.try_emplace(token, AttemptRow{.attempt = std::move(attempt), .directory = Directory::left}).second;
    if (!added) co_return fail(Errc::already_exists, "attempt " + token.str() + " has begun already");
    co_return std::nullopt;
  }

  Task<Result<void>> end_attempt(Attempt attempt) override {
    if (auto checked = state::check_ended(attempt); !checked) co_return checked;
    co_await yield(loop_);
    const auto found = attempts_.find(attempt.token);
    if (found == attempts_.end()) {
      co_return fail(Errc::not_found, "attempt " + attempt.token.str() + " never began");
    }
    if (!found->second.attempt.outcome) write_end(found->second.attempt, std::move(attempt));
    co_return Result<void>();
  }

  Task<Result<bool>> abandon_attempt(Attempt attempt) override {
    if (auto checked = state::check_ended(attempt); !checked) co_return fail(checked.error());
    co_await yield(loop_);
    const auto found = attempts_.find(attempt.token);
    if (found == attempts_.end()) {
      co_return fail(Errc::not_found, "attempt " + attempt.token.str() + " never began");
    }
    if (found->second.attempt.outcome || found->second.named) co_return false;
    write_end(found->second.attempt, std::move(attempt));
    co_return true;
  }

  Task<Result<std::vector<Attempt>>> attempts(RunId run_id) override {
    co_await yield(loop_);
    co_return select([&run_id](const AttemptRow& row) { return row.attempt.run_id == run_id; }, attempts_.size());
  }

  Task<Result<std::vector<Attempt>>> open_attempts(WallTime before, AttemptToken after, std::size_t limit) override {
    if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
    co_await yield(loop_);
    const auto last = attempts_.find(after);
    if (!after.empty() && last == attempts_.end()) co_return std::vector<Attempt>();
    co_return select(
        [&](const AttemptRow& row) {
          return !row.attempt.outcome && !row.named && row.attempt.started_at < before &&
                 (after.empty() || starts_earlier(last->second.attempt, row.attempt));
        },
        limit);
  }

  Task<Result<std::vector<Attempt>>> stale_directories(std::size_t limit) override {
    if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
    co_await yield(loop_);
    co_return select(
        [this](const AttemptRow& row) {
          return row.attempt.outcome && row.directory == Directory::left &&
                 (row.attempt.outcome != AttemptOutcome::succeeded || runs_.contains(row.attempt.run_id));
        },
        limit);
  }

  Task<Result<void>> forget_directory(AttemptToken token) override {
    co_await yield(loop_);
    const auto found = attempts_.find(token);
    if (found != attempts_.end()) found->second.directory = Directory::none;
    co_return Result<void>();
  }

  Task<Result<std::vector<AttemptToken>>> unclaimed_directories(std::vector<AttemptToken> tokens) override {
    if (auto checked = state::check(tokens); !checked) co_return fail(checked.error());
    co_await yield(loop_);
    std::erase_if(tokens, [this](const AttemptToken& token) {
      const auto found = attempts_.find(token);
      return found != attempts_.end() && found->second.directory != Directory::none;
    });
    co_return tokens;
  }

  Task<Result<CommitResult>> commit(RunRecord record) override {
    if (auto checked = state::check(record); !checked) co_return fail(checked.error());
    co_await yield(loop_);
    const auto own = attempts_.find(record.token);
    const bool lost = own != attempts_.end() && own->second.attempt.outcome == AttemptOutcome::lost;
    if (lost && !record.outputs.empty() && !runs_.contains(record.run_id)) co_return fail(state::given_up(record));
    const auto [standing, won] = runs_.try_emplace(record.run_id, record);
    if (won) {
      lives_[record.run_id] = {.number = ++commits_, .finished_at = record.committed_at};
      const auto attempt = attempts_.find(record.token);
      if (attempt != attempts_.end()) {
        attempt->second.named = true;
        const auto end = state::end_of_attempt(record);
        if (end && !attempt->second.attempt.outcome) {
          attempt->second.attempt.outcome = end;
          attempt->second.attempt.ended_at = record.committed_at;
        }
        if (!record.outputs.empty() && attempt->second.directory == Directory::left) {
          attempt->second.directory = Directory::of_row;
        }
      }
    }
    co_return CommitResult{.won = won, .standing = standing->second};
  }

  Task<Result<void>> mark(RunId run_id, RunMarks marks) override {
    co_await yield(loop_);
    const auto found = runs_.find(run_id);
    if (found == runs_.end()) co_return fail(Errc::not_found, "run " + run_id.str() + " has no record");
    if (!(found->second.placed && found->second.published)) lives_[run_id].finished_at = loop_.wall_now();
    found->second.placed |= marks.placed;
    found->second.published |= marks.published;
    for (auto& [trigger, rows] : marks.seen) put_seen(seen_, trigger, std::move(rows));
    co_return Result<void>();
  }

  Task<Result<std::optional<RunRecord>>> get(RunId run_id) override {
    co_await yield(loop_);
    const auto found = runs_.find(run_id);
    if (found == runs_.end()) co_return std::optional<RunRecord>();
    co_return found->second;
  }

  Task<Result<std::vector<RunRecord>>> list(RunFilter filter) override {
    if (auto checked = state::check(filter); !checked) co_return fail(checked.error());
    co_await yield(loop_);
    const auto before = runs_.find(filter.before);
    if (!filter.before.empty() && before == runs_.end()) {
      co_return fail(Errc::not_found, "list runs: the run to go on from, " + filter.before.str() + ", is not there");
    }
    auto records = select_runs([&](const RunRecord& record) {
      return (filter.function.empty() || record.function == filter.function) &&
             (!filter.outcome || record.outcome == *filter.outcome) &&
             (!filter.since || record.committed_at >= *filter.since) &&
             (filter.before.empty() || committed_earlier(record, before->second));
    });
    std::ranges::reverse(records);
    co_return cut(std::move(records), filter.limit);
  }

  Task<Result<std::vector<RunRecord>>> unfinished(WallTime before, RunId after, std::size_t limit) override {
    if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
    co_await yield(loop_);
    const auto last = runs_.find(after);
    if (!after.empty() && last == runs_.end()) co_return std::vector<RunRecord>();
    co_return cut(select_runs([&](const RunRecord& record) {
                    return !(record.placed && record.published) && record.committed_at < before &&
                           (after.empty() || committed_earlier(last->second, record));
                  }),
                  limit);
  }

  Task<Result<Order>> newest_order() override {
    co_await yield(loop_);
    Order newest;
    for (const auto& [run_id, record] : runs_) newest = std::max(newest, record.order);
    co_return newest;
  }

  Task<Result<std::vector<RunRecord>>> of_event(EventId event_id) override {
    co_await yield(loop_);
    co_return cut(select_runs([&event_id](const RunRecord& record) { return record.event_id == event_id; }),
                  kRunListMax);
  }

  Task<Result<std::vector<RunRecord>>> caused_by(RunId run_id) override {
    co_await yield(loop_);
    co_return cut(
        select_runs([&run_id](const RunRecord& record) { return !record.cause.empty() && record.cause == run_id; }),
        kRunListMax);
  }

  Task<Result<std::optional<WallTime>>> committed_before_last(std::size_t count) override {
    co_await yield(loop_);
    std::optional<WallTime> found;
    std::uint64_t number = 0;
    for (const auto& [run_id, life] : lives_) {
      if (life.number + count > commits_ || life.number <= number) continue;
      number = life.number;
      found = runs_.at(run_id).committed_at;
    }
    co_return found;
  }

  Task<Result<std::vector<OldRun>>> removable(WallTime before, RunId after, std::size_t limit) override {
    if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
    co_await yield(loop_);
    using Place = std::pair<WallTime, std::uint64_t>;
    const auto last = lives_.find(after);
    if (!after.empty() && last == lives_.end()) co_return std::vector<OldRun>();
    std::map<Place, OldRun> found;
    for (const auto& [run_id, life] : lives_) {
      const Place place(life.finished_at, life.number);
      const bool passed = !after.empty() && place <= Place(last->second.finished_at, last->second.number);
      const RunRecord& record = runs_.at(run_id);
      if (life.finished_at >= before || passed || !is_over(record) || is_needed(record)) continue;
      const auto own = attempts_.find(record.token);
      const bool kept = own != attempts_.end() && own->second.directory != Directory::none;
      found[place] = {.run_id = run_id,
                      .event_id = record.event_id,
                      .bucket = kept ? own->second.attempt.bucket : std::string(),
                      .token = kept ? record.token : AttemptToken()};
    }
    std::vector<OldRun> old;
    for (auto& [place, run] : found) {
      if (old.size() < limit) old.push_back(std::move(run));
    }
    co_return old;
  }

  Task<Result<std::size_t>> remove(std::vector<RunId> run_ids) override {
    if (run_ids.empty()) co_return std::size_t{0};
    if (auto checked = state::check_limit(run_ids.size()); !checked) co_return fail(checked.error());
    co_await yield(loop_);
    std::size_t removed = 0;
    for (const RunId& run_id : run_ids) {
      const auto run = runs_.find(run_id);
      if (run == runs_.end() || !is_over(run->second)) continue;
      std::erase_if(attempts_, [&run_id](const auto& row) { return row.second.attempt.run_id == run_id; });
      lives_.erase(run_id);
      runs_.erase(run);
      ++removed;
    }
    co_return removed;
  }

  Task<Result<std::size_t>> remove_lone_attempts(WallTime before, std::size_t limit) override {
    if (auto checked = state::check_limit(limit); !checked) co_return fail(checked.error());
    co_await yield(loop_);
    const auto lone = select(
        [this, before](const AttemptRow& row) {
          return row.attempt.outcome && row.directory == Directory::none && !row.named &&
                 row.attempt.started_at < before && !runs_.contains(row.attempt.run_id);
        },
        limit);
    for (const auto& attempt : lone) attempts_.erase(attempt.token);
    co_return lone.size();
  }

 private:
  // Finished, and no attempt of it is open or has left a directory.
  [[nodiscard]] bool is_over(const RunRecord& record) const {
    return record.placed && record.published && std::ranges::none_of(attempts_, [&record](const auto& each) {
             const AttemptRow& row = each.second;
             return row.attempt.run_id == record.run_id &&
                    (row.directory == Directory::left || (!row.attempt.outcome && !row.named));
           });
  }

  // By its cause, which may publish its event again, or a later generation.
  [[nodiscard]] bool is_needed(const RunRecord& record) const {
    const auto cause = runs_.find(record.cause);
    if (cause != runs_.end() && !(cause->second.placed && cause->second.published)) return true;
    return std::ranges::any_of(runs_, [&record](const auto& each) {
      const RunRecord& other = each.second;
      return other.event_id == record.event_id && other.function_uid == record.function_uid &&
             other.generation > record.generation;
    });
  }

  template <class Predicate>
  std::vector<Attempt> select(Predicate wanted, std::size_t limit) const {
    std::vector<Attempt> found;
    for (const auto& [token, row] : attempts_) {
      if (wanted(row)) found.push_back(row.attempt);
    }
    std::ranges::sort(found, starts_earlier);
    if (found.size() > limit) found.resize(limit);
    return found;
  }

  // Oldest first, without the long texts.
  template <class Predicate>
  std::vector<RunRecord> select_runs(Predicate wanted) const {
    std::vector<RunRecord> found;
    for (const auto& [run_id, record] : runs_) {
      if (!wanted(record)) continue;
      found.push_back(record);
      found.back().log_tail.clear();
      found.back().result.clear();
    }
    std::ranges::sort(found, committed_earlier);
    return found;
  }

  static std::vector<RunRecord> cut(std::vector<RunRecord> records, std::size_t limit) {
    std::size_t outputs = 0;
    std::size_t kept = 0;
    while (kept < std::min(records.size(), limit) && outputs < kListedOutputsMax) {
      outputs += records[kept++].outputs.size();
    }
    records.resize(kept);
    return records;
  }

  EventLoop& loop_;
  SeenRows& seen_;
  std::map<AttemptToken, AttemptRow> attempts_;
  std::map<RunId, RunRecord> runs_;
  std::map<RunId, RunLife> lives_;  // of each of runs_
  std::uint64_t commits_ = 0;
};

class MemorySeenStore final : public SeenStore {
 public:
  MemorySeenStore(EventLoop& loop, SeenRows& rows) : loop_(loop), rows_(rows) {}

  Task<Result<std::map<std::string, EventId>>> all(std::string trigger) override {
    co_await yield(loop_);
    const auto found = rows_.find(trigger);
    if (found == rows_.end()) co_return std::map<std::string, EventId>();
    co_return found->second;
  }

  Task<Result<std::optional<EventId>>> get(std::string trigger, std::string key) override {
    co_await yield(loop_);
    const auto rows = rows_.find(trigger);
    if (rows == rows_.end()) co_return std::optional<EventId>();
    const auto row = rows->second.find(key);
    co_return row == rows->second.end() ? std::optional<EventId>() : std::optional<EventId>(row->second);
  }

  Task<Result<void>> put(std::string trigger, std::map<std::string, EventId> rows) override {
    co_await yield(loop_);
    put_seen(rows_, trigger, std::move(rows));
    co_return Result<void>();
  }

  Task<Result<void>> remove(std::string trigger, std::vector<std::string> keys) override {
    co_await yield(loop_);
    const auto found = rows_.find(trigger);
    if (found == rows_.end()) co_return Result<void>();
    for (const auto& key : keys) found->second.erase(key);
    co_return Result<void>();
  }

  Task<Result<void>> fill(std::string trigger, std::map<std::string, EventId> rows) override {
    co_await yield(loop_);
    rows_.insert_or_assign(trigger, std::move(rows));
    filled_.insert_or_assign(std::move(trigger), true);
    co_return Result<void>();
  }

  Task<Result<bool>> filled(std::string trigger) override {
    co_await yield(loop_);
    co_return filled_.contains(trigger);
  }

  Task<Result<void>> drop(std::string trigger) override {
    co_await yield(loop_);
    rows_.erase(trigger);
    filled_.erase(trigger);
    co_return Result<void>();
  }

 private:
  EventLoop& loop_;
  SeenRows& rows_;
  std::map<std::string, bool> filled_;
};

class MemoryState final : public StateStore {
 public:
  explicit MemoryState(EventLoop& loop)
      : loop_(loop), functions_(loop), runs_(loop, seen_rows_), seen_(loop, seen_rows_) {}

  [[nodiscard]] const std::string& id() const override { return id_; }
  FunctionStore& functions() override { return functions_; }
  RunStore& runs() override { return runs_; }
  SeenStore& seen() override { return seen_; }
  Task<void> close() override { co_await yield(loop_); }

 private:
  EventLoop& loop_;
  std::string id_ = random_hex(kStoreIdLength / 2);
  SeenRows seen_rows_;
  MemoryFunctionStore functions_;
  MemoryRunStore runs_;
  MemorySeenStore seen_;
};

}  // namespace

std::unique_ptr<StateStore> make_memory_state(EventLoop& loop) {
  return std::make_unique<MemoryState>(loop);
}

}  // namespace millrace
