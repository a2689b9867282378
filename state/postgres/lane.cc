#include "state/postgres/lane.h"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

namespace millrace::postgres {
namespace {

constexpr int kConflictsMax = 5;
constexpr std::chrono::milliseconds kRetryAfter{1'000};

bool is_good(const PGresult* result) {
  const auto status = PQresultStatus(result);
  return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

// The first result that is an error; those behind it only say that they were left out.
const PGresult* first_error(const std::vector<ResultPtr>& results) {
  const auto found = std::ranges::find_if(results, [](const ResultPtr& one) { return !is_good(one.get()); });
  return found == results.end() ? nullptr : found->get();
}

// A transaction that the server could not keep answers its COMMIT with ROLLBACK.
bool is_committed(PGresult* result) {
  return std::string_view(PQcmdStatus(result)) == "COMMIT";
}

}  // namespace

Lane::Lane(EventLoop& loop, std::unique_ptr<Link> link, Options options, Meters meters)
    : loop_(loop), link_(std::move(link)), options_(options), meters_(meters), room_(loop, options.room) {}

Task<Result<Answer>> Lane::run(Query query, Urgency urgency) {
  if (given_up_) co_return fail(away());
  const std::size_t bytes = query.parameters.size_bytes();
  const std::size_t units = std::min(1 + bytes / kUnitBytes, room_.capacity());
  if (room_.waiting() != 0 || room_.free() < units) meters_.waits.add();
  const auto permit = co_await room_.acquire(units);
  if (given_up_) co_return fail(away());
  const OneShot<Result<Answer>> done(loop_);
  submit(std::make_unique<Call>(std::move(query), done), urgency);
  auto answer = co_await done.wait();
  co_return std::move(answer);
}

Task<void> Lane::close() {
  // Whoever waits for room was there before: with all of it in hand, nothing is queued, on its way or about to be.
  const auto everything = co_await room_.acquire(room_.capacity());
  lingering_.reset();
  patience_.reset();
  co_await link_->close();
}

void Lane::submit(std::unique_ptr<Call> call, Urgency urgency) {
  const auto linger = company_.arrive(loop_.now());
  queue_.push_back(std::move(call));
  if (urgency == Urgency::patient && !prompt_ && linger.count() > 0) {
    if (!lingering_) lingering_ = loop_.start_timer(linger, [this] { flush(); });
    return;
  }
  flush();
}

void Lane::flush() {
  lingering_.reset();
  prompt_ = !queue_.empty();
  pump();
}

void Lane::pump() {
  while (link_->is_up() && prompt_ && !queue_.empty() && in_flight_.size() < options_.in_flight_max) {
    send(take_calls());
    prompt_ = !queue_.empty();
  }
}

Lane::Calls Lane::take_calls() {
  Calls calls;
  const std::size_t count = alone_ > 0 ? 1 : options_.batch_max;
  alone_ -= std::min<std::size_t>(alone_, 1);
  std::size_t bytes = 0;
  while (!queue_.empty() && calls.size() < count && bytes < options_.batch_bytes_max) {
    bytes += queue_.front()->query.parameters.size_bytes();
    calls.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  return calls;
}

void Lane::send(Calls calls) {
  in_flight_.push_back({.calls = std::move(calls), .results = {}, .started = loop_.now()});
  if (options_.in_transactions) link_->send(Query("BEGIN"));
  for (const auto& call : in_flight_.back().calls) link_->send(call->query);
  if (options_.in_transactions) link_->send(Query("COMMIT"));
  link_->sync();
}

void Lane::on_result(ResultPtr result) {
  if (!in_flight_.empty()) in_flight_.front().results.push_back(std::move(result));
}

void Lane::on_sync() {
  if (in_flight_.empty()) return;
  Batch batch = std::move(in_flight_.front());
  in_flight_.pop_front();
  settle(std::move(batch));
  pump();
}

void Lane::settle(Batch batch) {
  if (batch.calls.empty()) return;
  const auto took = std::chrono::duration_cast<std::chrono::microseconds>(loop_.now() - batch.started).count();
  meters_.transactions.add();
  meters_.duration.observe_us(static_cast<std::uint64_t>(took));
  const PGresult* culprit = first_error(batch.results);
  const std::size_t expected = batch.calls.size() + (options_.in_transactions ? 2 : 0);
  const bool complete = culprit == nullptr && batch.results.size() == expected;
  const bool kept = complete && (!options_.in_transactions || is_committed(batch.results.back().get()));
  kept ? answer(batch) : spoiled(batch, culprit);
}

void Lane::answer(Batch& batch) {
  std::size_t at = options_.in_transactions ? 1 : 0;
  for (const auto& call : batch.calls) {
    meters_.jobs.add();
    call->done.set(Answer(std::move(batch.results[at++])));
  }
}

// Nothing of the batch has happened.
void Lane::spoiled(Batch& batch, const PGresult* culprit) {
  if (options_.in_transactions) {
    in_flight_.push_back({.calls = {}, .results = {}, .started = loop_.now()});
    link_->send(Query("ROLLBACK"));
    link_->sync();
  }
  const bool is_alone = batch.calls.size() == 1;
  if (is_alone) {
    Call& call = *batch.calls.front();
    const bool again = culprit != nullptr && is_conflict(sqlstate_of(culprit)) && ++call.conflicts < kConflictsMax;
    if (!again) {
      meters_.jobs.add();
      Error error = culprit != nullptr ? error_of(culprit, link_->name()) : away();
      call.done.set(fail(std::move(error)));
      return;
    }
  }
  meters_.repeats.add(batch.calls.size());
  alone_ += batch.calls.size();
  prompt_ = true;
  queue_.insert(queue_.begin(), std::make_move_iterator(batch.calls.begin()),
                std::make_move_iterator(batch.calls.end()));
}

void Lane::on_up() {
  given_up_ = false;
  patience_.reset();
  flush();
}

void Lane::on_down(const Error& why) {
  why_down_ = why.message;
  auto broken = std::exchange(in_flight_, {});
  for (auto& batch : broken) {
    for (const auto& call : batch.calls) {
      Error error = why;
      error.code = Errc::unavailable;
      error.message += "; whether it was written is not known";
      error.retry_after = kRetryAfter;
      call->done.set(fail(std::move(error)));
    }
  }
  patience_ = loop_.start_timer(options_.patience, [this] { give_up(); });
}

void Lane::give_up() {
  patience_.reset();
  given_up_ = true;
  alone_ = 0;
  for (auto& call : std::exchange(queue_, {})) call->done.set(fail(away()));
}

Error Lane::away() const {
  return {.code = Errc::unavailable,
          .message = why_down_.empty() ? "state store " + link_->name() + ": the server took a transaction back"
                                       : why_down_ + "; trying to reach it again",
          .retry_after = kRetryAfter};
}

}  // namespace millrace::postgres
