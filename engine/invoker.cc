#include "engine/invoker.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "async/sleep.h"
#include "async/together.h"
#include "core/fail_point.h"
#include "core/units.h"
#include "engine/finish.h"
#include "engine/health.h"
#include "engine/output_names.h"
#include "engine/retry_policy.h"
#include "engine/run_meter.h"
#include "engine/topic_outputs.h"

namespace millrace {
namespace {

std::uint64_t microseconds_between(WallTime from, WallTime to) {
  const auto span = std::chrono::duration_cast<std::chrono::microseconds>(to - from).count();
  return static_cast<std::uint64_t>(std::max<std::int64_t>(span, 0));
}

// Runs that have ended and are being committed and placed. More keep their slots.
constexpr std::size_t kSettlingMax = 256;

// Of an attempt's token that are its own: behind the store's id.
constexpr std::size_t kTokenBytes = 12;

// An input that is gone or replaced is not an error: the new content has its own event.
bool means_skipped(const Event& event, const Error& error) {
  const bool users = event.object && event.object->private_path.empty();
  return users && (error.code == Errc::not_found || error.code == Errc::failed_precondition);
}

SealLimits seal_limits(const FunctionSpec& function) {
  return {.bytes_max = function.limits.output_bytes, .files_max = function.limits.output_files};
}

OutputRank rank_of(const Work& work) {
  return output_rank(work.event.order, work.generation, work.event.id, work.run_id);
}

std::vector<OutputFile> outputs_of(const Work& work, const Sealed& sealed, bool printed) {
  auto outputs = name_outputs(*work.function, work.event, work.run_id, sealed);
  std::ranges::move(name_events(*work.function, sealed, printed), std::back_inserter(outputs));
  return outputs;
}

// Whoever follows the log learns of the attempt's end, also when this frame is dropped.
class ShownLog {
 public:
  explicit ShownLog(std::shared_ptr<LiveLog> log) : log_(std::move(log)) {}
  ShownLog(const ShownLog&) = delete;
  ShownLog& operator=(const ShownLog&) = delete;
  ~ShownLog() {
    if (log_) log_->end();
  }

  [[nodiscard]] const std::shared_ptr<LiveLog>& log() const { return log_; }

 private:
  std::shared_ptr<LiveLog> log_;
};

std::unexpected<Error> given_up() {
  return fail(Errc::aborted, "given up: the run belongs to another worker now");
}

}  // namespace

Invoker::Invoker(EventLoop& loop, const Executors& executors, StageIn& stage_in, OutputStore& outputs,
                 StateStore& state, std::string node, Log& log, Metrics& metrics)
    : loop_(loop),
      executors_(executors),
      stage_in_(stage_in),
      outputs_(outputs),
      state_(state),
      node_(std::move(node)),
      log_(log),
      metrics_(metrics),
      settling_(loop, kSettlingMax) {}

Task<Result<Invoked>> Invoker::invoke(Work work, Admission::Slot slot, RunTable::Active& active,
                                      Task<Result<Counters>> begin, std::stop_token stop) {
  const bool stages = work.event.object && work.function->stage_in;
  active.state(stages ? RunState::staging_in : RunState::starting, loop_.wall_now());
  Attempt attempt;
  attempt.run_id = work.run_id;
  attempt.token = AttemptToken(state_.id() + random_hex(kTokenBytes));
  attempt.node = node_;
  attempt.started_at = loop_.wall_now();
  attempt.bucket = attempt_place(*work.function, work.run_id, attempt.token).bucket;

  std::optional<Counters> counters;
  auto [standing, directory, staged] =
      co_await together(loop_, begin_attempt(std::move(begin), attempt, counters), make_directory(attempt),
                        stage_in_.stage(work.function, work.event, work.run_id));
  if (counters) work.counters = *counters;
  // Also where nothing could be written: input and output may have gone together.
  if (counters && !(standing && *standing) && !staged && means_skipped(work.event, staged.error())) {
    auto invoked = co_await end_skipped(work, std::move(attempt), std::move(staged.error().message), {});
    co_return invoked;
  }
  if (!standing || *standing) {          // it has not begun, or ran already
    co_await remove_directory(attempt);  // also where its making was not confirmed
    if (!standing) co_return fail(std::move(standing.error()));
    co_return Invoked{
        .committed = std::move(*standing), .outcome = AttemptOutcome::cancelled, .message = {}, .settling = {}};
  }
  if (!directory || !staged) {
    Error error = directory ? std::move(staged.error()) : std::move(directory.error());
    co_await close_unrun(std::move(attempt), error.message);
    co_return fail(std::move(error));
  }
  MILLRACE_FAIL_POINT(after_stage_in);
  auto invoked =
      co_await run(work, std::move(slot), std::move(attempt), std::move(*staged), std::move(*directory), active, stop);
  co_return invoked;
}

// The broker has recorded that the run begins before its attempt is on record, so that an attempt that is lost counts
// as a loss.
Task<Result<std::optional<RunRecord>>> Invoker::begin_attempt(Task<Result<Counters>> begin, Attempt attempt,
                                                              std::optional<Counters>& counters) {
  const auto begun = co_await std::move(begin);
  if (!begun) co_return fail(begun.error());
  counters = *begun;
  auto standing = co_await state_.runs().begin_attempt(std::move(attempt));
  MILLRACE_FAIL_POINT(after_attempt_row);
  co_return standing;
}

// It may stand before the attempt is on record: one that no row claims is removed at the next start.
Task<Result<AttemptDirectory>> Invoker::make_directory(Attempt attempt) {
  auto directory =
      co_await outputs_.make_attempt({.bucket = attempt.bucket, .run_id = attempt.run_id, .token = attempt.token});
  if (directory && directory->free_bytes < kFreeBytesMin) {
    co_return fail(Errc::no_space,
                   "less than " + format_bytes(kFreeBytesMin) + " free for outputs in bucket '" + attempt.bucket + "'");
  }
  MILLRACE_FAIL_POINT(after_attempt_directory);
  co_return directory;
}

Task<Result<Invoked>> Invoker::run(const Work& work, Admission::Slot slot, Attempt attempt, StagedIn staged,
                                   AttemptDirectory directory, RunTable::Active& active, std::stop_token stop) {
  const auto executor = executors_.find(work.function->executor);
  if (!executor) {
    co_await close_unrun(std::move(attempt), executor.error().message);
    co_return fail(executor.error());
  }
  active.state(RunState::running, loop_.wall_now());
  ExecutionRequest request{.function = work.function,
                           .run_id = work.run_id,
                           .inputs = std::move(staged.inputs),
                           .output_directory = std::move(directory.fd),
                           .output_path = std::move(directory.host_path),
                           .environment = std::move(staged.environment),
                           .input_bytes = std::move(staged.stdin_bytes)};
  const ShownLog shown(logs_ == nullptr ? nullptr : logs_->open(work.run_id, attempt.token));
  if (shown.log()) request.on_log = [log = shown.log()](std::string_view bytes) { log->append(bytes); };
  const AnyStop any_stop(stop, active.cancel_requested());
  auto execution = co_await (*executor)->run(std::move(request), any_stop.token());
  attempt.ended_at = loop_.wall_now();
  MILLRACE_FAIL_POINT(after_execute);
  if (!execution) {
    const auto skipped = co_await why_skipped(work);
    if (!skipped.empty()) {
      auto invoked = co_await end_skipped(work, std::move(attempt), skipped, {});
      co_return invoked;
    }
    co_await close_unrun(std::move(attempt), execution.error().message);
    co_return fail(execution.error());
  }
  auto settling = co_await settling_.acquire(1);
  slot.release();
  execution->usage.queued_us = microseconds_between(work.queued_at, attempt.started_at);
  attempt.outcome = execution->outcome;
  attempt.exit_code = execution->exit_code;
  attempt.signal = execution->signal;
  attempt.message = execution->message;
  attempt.usage = execution->usage;

  if (stop.stop_requested()) {
    // Its outcome is nobody's: the next owner runs it again.
    co_await close_unrun(std::move(attempt), given_up().error().message);
    co_return given_up();
  }
  auto invoked = co_await conclude(work, std::move(attempt), std::move(*execution), active, stop);
  if (invoked && settling) invoked->settling = std::move(*settling);
  co_return invoked;
}

Task<Result<Invoked>> Invoker::conclude(const Work& work, Attempt attempt, Execution execution,
                                        RunTable::Active& active, std::stop_token stop) {
  if (execution.outcome == AttemptOutcome::succeeded) {
    auto invoked = co_await end_well(work, std::move(attempt), std::move(execution), active, stop);
    co_return invoked;
  }
  auto invoked = co_await end_badly(work, std::move(attempt), std::move(execution));
  co_return invoked;
}

RunRecord Invoker::record_of(const Work& work, const Attempt& attempt) const {
  RunRecord record;
  record.run_id = work.run_id;
  record.event_id = work.event.id;
  record.function = work.function->name;
  record.function_uid = work.function->uid;
  record.revision = work.function->revision;
  record.generation = work.generation;
  record.order = work.event.order;
  record.cause = work.event.cause;
  record.hops = work.event.hops;
  record.input = work.event.object;
  record.exit_code = attempt.exit_code;
  record.signal = attempt.signal;
  record.failures = work.counters.failures;
  record.losses = work.counters.losses;
  record.token = attempt.token;
  record.node = node_;
  record.queued_at = work.queued_at;
  record.started_at = attempt.started_at;
  record.committed_at = loop_.wall_now();
  record.usage = attempt.usage;
  return record;
}

Task<Result<Invoked>> Invoker::end_well(const Work& work, Attempt attempt, Execution execution,
                                        RunTable::Active& active, std::stop_token stop) {
  const auto skipped = co_await why_skipped(work);
  if (!skipped.empty()) {
    auto invoked = co_await end_skipped(work, std::move(attempt), skipped, std::move(execution.log_tail));
    co_return invoked;
  }

  active.state(RunState::staging_out, loop_.wall_now());
  const AttemptPlace place = attempt_place(*work.function, work.run_id, attempt.token);
  auto sealed = co_await outputs_.seal(place, seal_limits(*work.function), rank_of(work));
  const bool prints = sealed && publishes_what_is_printed(*work.function, *sealed) && !execution.result.empty();
  if (prints && (execution.result_truncated || execution.result.size() > kEventBytesMax)) {
    sealed = fail(Errc::too_large,
                  "printed more than the event that it becomes can carry, " +
                      format_bytes(std::min<std::uint64_t>(kEventBytesMax, work.function->limits.result_bytes)) +
                      "; write it to a file in TMP_OUTPUT_DIR");
  }
  if (!sealed && sealed.error().code == Errc::too_large) {
    execution.outcome = AttemptOutcome::output_too_large;
    execution.message = sealed.error().message;
    attempt.outcome = AttemptOutcome::output_too_large;
    attempt.message = sealed.error().message;
    auto invoked = co_await end_badly(work, std::move(attempt), std::move(execution));
    co_return invoked;
  }
  if (!sealed) {
    // Its outputs go at once: when the disk is full, the next attempt needs their space.
    co_await close_unrun(std::move(attempt), sealed.error().message);
    co_return fail(sealed.error());
  }
  if (stop.stop_requested()) {  // a worker that lost its lease starts no commit
    co_await close_unrun(std::move(attempt), given_up().error().message);
    co_return given_up();
  }

  MILLRACE_FAIL_POINT(after_seal);

  RunRecord record = record_of(work, attempt);
  record.outcome = RunOutcome::succeeded;
  record.outputs = outputs_of(work, *sealed, prints);
  record.usage.output_bytes = 0;
  for (const auto& file : sealed->files) record.usage.output_bytes += file.version.size_bytes;
  record.log_tail = std::move(execution.log_tail);
  record.log_bytes = execution.log_bytes;
  for (const auto& refused : sealed->refused) record.log_tail += "\nmillrace: output refused: " + refused;
  if (work.synchronous || prints) record.result = std::move(execution.result);
  record.result_truncated = work.synchronous && execution.result_truncated;
  const bool nothing_made = !has_private_copies(record.outputs);
  auto invoked = co_await commit(std::move(record), AttemptOutcome::succeeded, {});
  if (!invoked && invoked.error().code == Errc::no_space) {
    // Refused as a whole, so no row names the files, and the next attempt needs their space.
    co_await close_unrun(std::move(attempt), invoked.error().message);
    co_return invoked;
  }
  const bool lost_race = invoked && invoked->committed->token != attempt.token;
  if (lost_race) co_await end_attempt(attempt);
  if (lost_race || nothing_made) co_await drop_attempt(attempt);
  co_return invoked;
}

Task<Result<Invoked>> Invoker::end_badly(const Work& work, Attempt attempt, Execution execution) {
  const bool counted = execution.outcome != AttemptOutcome::lost && execution.outcome != AttemptOutcome::cancelled;
  // What failed may have failed because its input went away under it.
  std::string skipped;
  if (counted) skipped = co_await why_skipped(work);
  if (!skipped.empty()) {
    auto invoked = co_await end_skipped(work, std::move(attempt), skipped, std::move(execution.log_tail));
    co_return invoked;
  }
  const std::uint32_t failures = work.counters.failures + (counted ? 1 : 0);
  const bool final = work.synchronous || is_final(*work.function, execution.outcome, execution.exit_code, failures);
  // An ended attempt's directory is anybody's to remove until a row names it: one that is kept ends after the commit.
  const bool may_keep = final && work.function->publish_on_failure && execution.outcome != AttemptOutcome::cancelled;
  if (!may_keep) {
    const auto ended = co_await state_.runs().end_attempt(attempt);
    if (!ended) {
      // A full disk may be full of what it wrote, and keeps the row from being written until that is gone.
      [[maybe_unused]] const bool removed = co_await remove_directory(std::move(attempt));
      co_return fail(ended.error());
    }
    MILLRACE_FAIL_POINT(after_end_attempt);
  }
  if (!final) {
    co_await drop_attempt(attempt);
    co_return Invoked{.committed = std::nullopt,
                      .outcome = execution.outcome,
                      .message = std::move(execution.message),
                      .settling = {}};
  }

  RunRecord record = record_of(work, attempt);
  record.failures = failures;
  record.reason = execution.message;
  record.log_tail = std::move(execution.log_tail);
  record.log_bytes = execution.log_bytes;
  if (work.synchronous) record.result = std::move(execution.result);
  record.result_truncated = work.synchronous && execution.result_truncated;
  if (execution.outcome == AttemptOutcome::cancelled) {
    record.outcome = RunOutcome::cancelled;
  } else {
    const bool kept = work.function->dead_letter && !work.synchronous;
    record.outcome = kept ? RunOutcome::dead_lettered : RunOutcome::failed;
  }
  bool keep_files = false;
  if (may_keep) {
    const auto sealed = co_await outputs_.seal(attempt_place(*work.function, work.run_id, attempt.token),
                                               seal_limits(*work.function), rank_of(work));
    if (sealed) record.outputs = outputs_of(work, *sealed, false);
    keep_files = !record.outputs.empty();
  }
  auto invoked = co_await commit(std::move(record), execution.outcome, std::move(execution.message));
  if (may_keep) {
    co_await end_attempt(attempt);
  }
  if (!keep_files || (invoked && invoked->committed->token != attempt.token)) co_await drop_attempt(attempt);
  co_return invoked;
}

Task<std::string> Invoker::why_skipped(const Work& work) {
  const bool users = work.event.object && work.event.object->private_path.empty() && work.function->stage_in;
  if (!users) co_return std::string();
  const auto unchanged = co_await stage_in_.unchanged(*work.event.object);
  if (unchanged || !means_skipped(work.event, unchanged.error())) co_return std::string();
  co_return unchanged.error().message + " while it was processed";
}

Task<Result<Invoked>> Invoker::end_skipped(const Work& work, Attempt attempt, std::string reason,
                                           std::string log_tail) {
  RunRecord record = record_of(work, attempt);
  record.outcome = RunOutcome::skipped;
  record.reason = std::move(reason);
  record.log_tail = std::move(log_tail);
  auto invoked = co_await commit(std::move(record), AttemptOutcome::cancelled, "input replaced");
  if (invoked && invoked->committed->token != attempt.token) co_await end_attempt(attempt);
  co_await drop_attempt(std::move(attempt));
  co_return invoked;
}

Task<Result<Invoked>> Invoker::commit(RunRecord record, AttemptOutcome outcome, std::string message) {
  if (record.log_tail.size() > kLogTailBytesMax) record.log_tail.erase(0, record.log_tail.size() - kLogTailBytesMax);
  if (record.outputs.empty()) record.published = true;  // nothing is left to do
  if (!has_files(record.outputs)) record.placed = true;
  auto committed = co_await state_.runs().commit(std::move(record));
  if (!committed) co_return fail(committed.error().with("commit"));
  MILLRACE_FAIL_POINT(after_commit);
  if (committed->won) count_run(metrics_, committed->standing);
  co_return Invoked{
      .committed = std::move(committed->standing), .outcome = outcome, .message = std::move(message), .settling = {}};
}

Task<Result<RunRecord>> Invoker::commit_end(Work work, RunOutcome outcome, std::string reason) {
  Attempt none;
  none.started_at = loop_.wall_now();
  RunRecord record = record_of(work, none);
  record.outcome = outcome;
  record.reason = std::move(reason);
  auto invoked = co_await commit(std::move(record), AttemptOutcome::failed, {});
  if (!invoked) co_return fail(invoked.error());
  co_return std::move(*invoked->committed);
}

// An attempt without an outcome of its own: closed, so that nobody takes it for a loss. What fails here the sweeper
// does.
Task<void> Invoker::close_unrun(Attempt attempt, std::string why) {
  attempt.outcome = AttemptOutcome::cancelled;
  attempt.message = std::move(why);
  co_await end_attempt(attempt);
  co_await drop_attempt(std::move(attempt));
}

// Of an attempt whose end no row tells. What fails here the sweeper does.
Task<void> Invoker::end_attempt(Attempt attempt) {
  if (!attempt.outcome) attempt.outcome = AttemptOutcome::cancelled;
  if (attempt.ended_at == WallTime{}) attempt.ended_at = loop_.wall_now();
  const auto ended = co_await state_.runs().end_attempt(attempt);
  if (!ended) log_.warn("attempt not closed", {{"run", attempt.run_id.str()}, {"error", ended.error()}});
}

Task<void> Invoker::drop_attempt(Attempt attempt) {
  const bool removed = co_await remove_directory(attempt);
  if (!removed) co_return;
  MILLRACE_FAIL_POINT(after_remove_attempt);
  const auto forgotten = co_await state_.runs().forget_directory(attempt.token);
  if (!forgotten) log_.warn("attempt not forgotten", {{"run", attempt.run_id.str()}, {"error", forgotten.error()}});
  MILLRACE_FAIL_POINT(after_forget_attempt);
}

Task<bool> Invoker::remove_directory(Attempt attempt) {
  const auto removed =
      co_await outputs_.remove_attempt({.bucket = attempt.bucket, .run_id = attempt.run_id, .token = attempt.token});
  if (!removed) {
    log_.warn("attempt directory stays", {{"run", attempt.run_id.str()}, {"error", removed.error()}});
    on_left_({.bucket = attempt.bucket, .run_id = attempt.run_id, .token = attempt.token});
  }
  co_return removed.has_value();
}

}  // namespace millrace
