#include "runtime/launched/run_process.h"

#include <algorithm>
#include <array>
#include <optional>

#include "async/one_shot.h"
#include "async/sleep.h"
#include "async/task_group.h"
#include "runtime/launched/log_capture.h"
#include "runtime/launched/pipe_stream.h"
#include "runtime/launched/spawn_error.h"

namespace millrace::launched {
namespace {

std::uint64_t microseconds(EventLoop::Duration span) {
  const auto count = std::chrono::duration_cast<std::chrono::microseconds>(span).count();
  return count > 0 ? static_cast<std::uint64_t>(count) : 0;
}

launcher::Limits limits_of(const FunctionSpec& function) {
  return {.memory_bytes = function.memory_bytes,
          .cpu_weight_millicores = function.cpu_millicores,
          .cpu_quota_millicores = function.limits.cpu_millicores,
          .pids = function.limits.pids,
          .open_files = function.limits.open_files,
          // One byte more than allowed: the file that reaches it is over the limit, and so the outcome tells.
          .file_bytes = function.limits.output_bytes + 1,
          .scratch_bytes = function.limits.scratch_bytes,
          .scratch_inodes = 0};
}

Usage usage_of(const LaunchedRun::Timed& end, const OutputSize& output, const FunctionSpec& function) {
  Usage usage;
  usage.memory_limit_bytes = function.memory_bytes;
  usage.output_bytes = output.bytes;
  if (!end.exited) {
    usage.wall_us = microseconds(end.ended_at - end.started_at);
    return usage;
  }
  // By the launcher's clock: a daemon that has much to do may read of both ends at once.
  const launcher::Usage& measured = end.exited->usage;
  usage.wall_us = measured.wall_us;
  usage.start_us = measured.start_us;
  usage.cpu_us = measured.cpu_us;
  usage.memory_peak_bytes = measured.memory_peak_bytes;
  usage.rss_peak_bytes = measured.rss_peak_bytes;
  usage.read_bytes = measured.io_read_bytes;
  usage.written_bytes = measured.io_write_bytes;
  usage.throttled_us = measured.throttled_us;
  return usage;
}

class RunProcess {
 public:
  RunProcess(EventLoop& loop, LauncherClient& client, RunPlan plan)
      : loop_(loop),
        client_(client),
        plan_(std::move(plan)),
        log_(plan_.function->limits.log_bytes, plan_.function->limits.log_line_bytes),
        drained_(loop),
        measuring_(loop) {}

  Task<Result<Execution>> run(const TemplateUse& use, std::stop_token stop);

 private:
  Result<StartRequest> open_pipes();
  Task<void> watch_outputs(std::stop_token over);
  Task<void> drain();
  void take_output(std::string_view bytes);
  void take_errors(std::string_view bytes);
  // With `backpressure`: leaves the rest in the pipe.
  void hold_back(PipeReader& stream, std::uint64_t had, std::uint64_t most);
  void log(LogStream stream, std::string_view bytes);
  void stream_ended();
  void end(EndedBy why);
  void ask_to_end();
  void kill();

  EventLoop& loop_;
  LauncherClient& client_;
  RunPlan plan_;
  LogCapture log_;
  std::string result_;
  bool result_truncated_ = false;
  OutputSize output_;
  EndedBy ended_by_ = EndedBy::nobody;
  bool ended_ = false;
  bool log_full_ = false;   // it waits, or has waited, until somebody reads more of its log
  OneShot<bool> drained_;   // both streams are at their end, or we stop waiting for it
  bool copies_ = false;     // its start takes as long as reading its inputs does: that time is the function's
  std::stop_source start_;  // stopped: what is being started is to be killed
  std::unique_ptr<LaunchedRun> run_;
  // Registrations and tasks that call back into all of the above: they go first.
  std::unique_ptr<EventLoop::Handle> timeout_;
  std::unique_ptr<EventLoop::Handle> grace_;
  std::unique_ptr<EventLoop::Handle> kill_wait_;
  std::optional<PipeWriter> stdin_;
  std::optional<PipeReader> stdout_;
  std::optional<PipeReader> stderr_;
  TaskGroup measuring_;
};

Result<StartRequest> RunProcess::open_pipes() {
  auto input = make_pipe_to_write();
  auto output = make_pipe_to_read();
  auto errors = make_pipe_to_read();
  for (const auto* pipe : {&input, &output, &errors}) {
    if (!*pipe) return fail(pipe->error());
  }
  stdin_.emplace(loop_, std::move(input->ours), std::move(plan_.input_bytes));
  stdout_.emplace(
      loop_, std::move(output->ours), [this](std::string_view bytes) { take_output(bytes); },
      [this] { stream_ended(); });
  stderr_.emplace(
      loop_, std::move(errors->ours), [this](std::string_view bytes) { take_errors(bytes); },
      [this] { stream_ended(); });

  StartRequest request{.spawn = std::move(plan_.spawn),
                       .argv = std::move(plan_.argv),
                       .environment = std::move(plan_.environment),
                       .descriptors = {}};
  request.spawn.limits = limits_of(*plan_.function);
  for (Pipe* pipe : {&*input, &*output, &*errors}) request.descriptors.push_back(std::move(pipe->theirs));
  std::ranges::move(plan_.files, std::back_inserter(request.descriptors));
  return request;
}

Task<Result<Execution>> RunProcess::run(const TemplateUse& use, std::stop_token stop) {
  auto request = open_pipes();
  if (!request) co_return fail(request.error());
  SpawnContext context{.function = *plan_.function, .inputs = {}};
  for (const auto& input : request->spawn.inputs) context.inputs.push_back(input.name);

  const auto limit_time = [this] {
    timeout_ = loop_.start_timer(plan_.function->timeout, [this] { end(EndedBy::timeout); });
  };
  copies_ = copies_inputs(request->spawn);
  const std::stop_callback on_stop(stop, [this] { end(EndedBy::cancel); });  // at once, if that was asked for before
  if (copies_) limit_time();
  auto start = co_await client_.start(use, std::move(*request), start_.get_token());
  if (!start) co_return fail(start.error());
  if (start->refused && ended_by_ == EndedBy::nobody) co_return fail(error_of(*start->refused, context));

  LaunchedRun::Timed last;
  if (start->run) {
    run_ = std::move(start->run);
    if (ended_by_ != EndedBy::nobody) {
      ask_to_end();
    } else if (!copies_) {
      limit_time();
    }
    if (plan_.measure) measuring_.spawn(watch_outputs(measuring_.stop_token()));
    last = co_await run_->wait_ended();
  }
  ended_ = true;
  timeout_.reset();
  grace_.reset();
  kill_wait_.reset();
  measuring_.request_stop();
  co_await measuring_.join();
  co_await drain();
  const auto verdict_now = [&] {
    return judge({.ended_by = ended_by_, .exited = last.exited, .output = output_, .log_full = log_full_},
                 *plan_.function);
  };
  Verdict verdict = verdict_now();
  // What a success leaves is counted when it is sealed.
  if (plan_.measure && verdict.outcome != AttemptOutcome::succeeded && ended_by_ != EndedBy::output_limit) {
    output_ = co_await plan_.measure();
    verdict = verdict_now();
  }
  co_return Execution{.outcome = verdict.outcome,
                      .exit_code = verdict.exit_code,
                      .signal = verdict.signal,
                      .message = verdict.message,
                      .usage = usage_of(last, output_, *plan_.function),
                      .result = std::move(result_),
                      .result_truncated = result_truncated_,
                      .log_tail = log_.tail(kLogTailBytesMax),
                      .log_bytes = log_.total_bytes()};
}

Task<void> RunProcess::watch_outputs(std::stop_token over) {
  for (;;) {
    const auto slept = co_await sleep_for(loop_, kMeasureEvery, over);
    if (!slept) co_return;
    const OutputSize size = co_await plan_.measure();
    if (over.stop_requested() || !over_limit(size, plan_.function->limits)) continue;
    output_ = size;
    end(EndedBy::output_limit);
    co_return;
  }
}

Task<void> RunProcess::drain() {
  // Whoever waited is gone: what it left is short, and counted.
  stdout_->resume();
  stderr_->resume();
  if (!stdout_->ended() || !stderr_->ended()) {
    const auto no_longer = loop_.start_timer(kPipesAfterEnd, [this] { drained_.set(false); });
    co_await drained_.wait();
  }
  stdin_.reset();
  stdout_.reset();
  stderr_.reset();
}

void RunProcess::take_output(std::string_view bytes) {
  log(LogStream::out, bytes);
  const std::uint64_t room = plan_.function->limits.result_bytes - result_.size();
  result_truncated_ |= bytes.size() > room;
  result_ += bytes.substr(0, static_cast<std::size_t>(std::min<std::uint64_t>(room, bytes.size())));
  // A result is more than a log.
  const LimitsSpec& limits = plan_.function->limits;
  hold_back(*stdout_, log_.total_bytes(LogStream::out), std::max(limits.log_bytes, limits.result_bytes));
}

void RunProcess::take_errors(std::string_view bytes) {
  log(LogStream::err, bytes);
  hold_back(*stderr_, log_.total_bytes(LogStream::err), plan_.function->limits.log_bytes);
}

void RunProcess::hold_back(PipeReader& stream, std::uint64_t had, std::uint64_t most) {
  if (plan_.function->limits.log_policy != LogPolicy::backpressure || had < most || ended_) return;
  log_full_ = true;
  stream.pause();
}

void RunProcess::log(LogStream stream, std::string_view bytes) {
  log_.append(stream, bytes);
  if (plan_.on_log) plan_.on_log(bytes);
}

void RunProcess::stream_ended() {
  if (stdout_->ended() && stderr_->ended()) drained_.set(true);
}

void RunProcess::end(EndedBy why) {
  if (ended_ || ended_by_ != EndedBy::nobody) return;
  ended_by_ = why;
  timeout_.reset();
  if (run_ != nullptr) {
    ask_to_end();
  } else if (copies_ || plan_.function->executor == ExecutorKind::oci) {  // which start for long
    start_.request_stop();
  }
}

void RunProcess::ask_to_end() {
  if (ended_by_ == EndedBy::output_limit || plan_.function->grace.count() == 0) {
    kill();
    return;
  }
  run_->kill(launcher::KillSignal::term);
  grace_ = loop_.start_timer(plan_.function->grace, [this] { kill(); });
}

void RunProcess::kill() {
  run_->kill(launcher::KillSignal::kill);
  kill_wait_ = loop_.start_timer(
      kKillWait, [this] { client_.give_up("a killed function of " + plan_.function->name + " does not end"); });
}

}  // namespace

Task<Result<Execution>> run_process(EventLoop& loop, LauncherClient& client, const TemplateUse& use, RunPlan plan,
                                    std::stop_token stop) {
  RunProcess process(loop, client, std::move(plan));
  auto execution = co_await process.run(use, stop);
  co_return std::move(execution);
}

}  // namespace millrace::launched
