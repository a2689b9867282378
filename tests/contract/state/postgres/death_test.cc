// The server dies, comes back, goes silent: what was told stands, nobody waits for ever, and work goes on.
#include <gmock/gmock.h>

#include <atomic>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>

#include "async/sleep.h"
#include "async/task_group.h"
#include "core/ids.h"
#include "tests/contract/state/backends.h"
#include "tests/contract/state/postgres/stores.h"

namespace millrace::test {
namespace {

using std::chrono::milliseconds;

class PostgresDeath : public PostgresServerTest {
 protected:
  // What the server says when it is there again.
  template <class Ask>
  auto said(Ask ask) {
    for (;;) {
      auto answer = run(ask());
      if (answer || answer.error().code != Errc::unavailable) return answer;
      static_cast<void>(run(sleep_for(loop_, milliseconds(5))));
    }
  }
};

// What writers were told.
struct Told {
  std::set<std::string> begun;                          // "run token"
  std::map<std::string, std::set<std::string>> stands;  // run to the tokens that were said to stand
  std::set<std::string> marked;
  int unavailable = 0;
  int other_errors = 0;
};

// Asks again while the server is away; counts how often that was.
bool is_over(const Result<void>& result, Told& told) {
  if (result) return true;
  (result.error().code == Errc::unavailable ? told.unavailable : told.other_errors) += 1;
  return false;
}

template <class T>
Result<void> without_value(const Result<T>& result) {
  return result ? Result<void>() : fail(result.error());
}

Task<void> write_run(RunStore& runs, EventLoop& loop, std::string run_id, Told& told) {
  Attempt mine = attempt(run_id, random_hex(16));
  for (;;) {
    const auto begun = co_await runs.begin_attempt(mine);
    if (is_over(without_value(begun), told)) {
      if (*begun) co_return;  // the other one's record stands
      break;
    }
    co_await sleep_for(loop, milliseconds(5));
    mine.token = AttemptToken(random_hex(16));  // the first may have begun
  }
  told.begun.insert(run_id + " " + mine.token.str());
  RunRecord row = record(run_id);
  row.token = mine.token;
  for (;;) {
    const auto committed = co_await runs.commit(row);
    if (is_over(without_value(committed), told)) {
      told.stands[run_id].insert(committed->standing.token.str());
      break;
    }
    co_await sleep_for(loop, milliseconds(5));
  }
  for (;;) {
    const RunMarks marks{.placed = true, .seen = {{"trigger", {{run_id, EventId(run_id)}}}}};
    const auto marked = co_await runs.mark(RunId(run_id), marks);
    if (is_over(marked, told)) break;
    co_await sleep_for(loop, milliseconds(5));
  }
  told.marked.insert(run_id);
}

Task<void> write_lane(RunStore& runs, EventLoop& loop, int lane, std::atomic<bool>& over, Told& told) {
  for (int i = 0; !over; ++i) co_await write_run(runs, loop, std::to_string(lane) + "." + std::to_string(i), told);
}

TEST_F(PostgresDeath, WhatWritersWereToldStandsWhileTheServerDiesAgainAndAgain) {
  constexpr int kDeaths = 5;
  constexpr int kLanes = 8;
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  auto asked = options(url_);
  asked.patience = milliseconds(100);
  const auto one = node(asked);
  const auto other = node(asked);
  ASSERT_TRUE(one && other);
  std::atomic<bool> over = false;
  Told told;
  const ServersThread killer([&] {
    std::mt19937 random(seed);
    for (int i = 0; i < kDeaths; ++i) {
      std::this_thread::sleep_for(milliseconds(random() % 400));  // the moment of death, at random
      restart();
    }
    over = true;
  });
  TaskGroup group(loop_);
  for (int lane = 0; lane < kLanes; ++lane) {  // each run is a race of both
    group.spawn(write_lane(one->state->runs(), loop_, lane, over, told));
    group.spawn(write_lane(other->state->runs(), loop_, lane, over, told));
  }
  run(group.join());

  EXPECT_EQ(told.other_errors, 0);
  EXPECT_GE(told.unavailable, kDeaths) << "the server died with writes on their way";
  EXPECT_GE(one->metrics.counter("millrace_state_reconnects_total", "", {{"side", "write"}}).value(), 1U);
  for (const auto& [run_id, tokens] : told.stands) {
    EXPECT_EQ(tokens.size(), 1U) << run_id << ": two records were said to stand";
    const auto row = said([&] { return one->state->runs().get(RunId(run_id)); });
    ASSERT_TRUE(row && *row) << run_id << ": told and gone";
    EXPECT_EQ((*row)->token.str(), *tokens.begin());
    EXPECT_TRUE((*row)->placed || !told.marked.contains(run_id));
    const auto attempts = said([&] { return other->state->runs().attempts(RunId(run_id)); });
    ASSERT_TRUE(attempts);
    for (const auto& attempt : *attempts) told.begun.erase(run_id + " " + attempt.token.str());
  }
  EXPECT_TRUE(told.begun.empty()) << "begun and gone: " << *told.begun.begin();
  const auto seen = said([&] { return one->state->seen().all("trigger"); });
  ASSERT_TRUE(seen);
  for (const auto& run_id : told.marked) EXPECT_TRUE(seen->contains(run_id)) << run_id << ": half a mark";
  close(*one);
  close(*other);
}

TEST_F(PostgresDeath, CallsWaitForAServerForAMomentAndNoLonger) {
  auto asked = options(url_);
  asked.patience = milliseconds(50);
  const auto opened = node(asked);
  ASSERT_TRUE(opened);
  RunStore& runs = opened->state->runs();
  ASSERT_TRUE(run(runs.commit(record("before"))));
  server_.kill();
  const auto failed = run(runs.commit(record("r")));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Errc::unavailable);
  EXPECT_GT(failed.error().retry_after.count(), 0);
  EXPECT_EQ(opened->metrics.gauge("millrace_state_connected", "", {{"side", "write"}}).value(), 0);
  const auto unread = run(runs.get(RunId("before")));
  ASSERT_FALSE(unread);
  EXPECT_EQ(unread.error().code, Errc::unavailable);
  server_.start();
  for (;;) {
    const auto committed = run(runs.commit(record("r")));
    if (committed) break;
    ASSERT_EQ(committed.error().code, Errc::unavailable);
    ASSERT_TRUE(run(sleep_for(loop_, milliseconds(10))));
  }
  EXPECT_EQ(opened->metrics.gauge("millrace_state_connected", "", {{"side", "write"}}).value(), 1);
  close(*opened);
}

TEST_F(PostgresDeath, AConnectionThatTheServerEndsIsMadeAnewAndNobodyNotices) {
  const auto opened = node(options(url_));
  ASSERT_TRUE(opened);
  RunStore& runs = opened->state->runs();
  for (int i = 0; i < 3; ++i) {
    server_.run("postgres",
                "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = 'millrace'");
    ASSERT_TRUE(run(sleep_for(loop_, milliseconds(20))));  // the loop reads that it is over
    const auto committed = run(runs.commit(record("r" + std::to_string(i))));
    ASSERT_TRUE(committed) << committed.error().message;
    const auto found = run(runs.get(RunId("r" + std::to_string(i))));
    ASSERT_TRUE(found && *found);
  }
  close(*opened);
}

TEST_F(PostgresDeath, AServerThatGoesSilentIsGivenUp) {
  auto asked = options(url_);
  asked.patience = milliseconds(50);
  asked.answer_max = milliseconds(200);
  const auto opened = node(asked);
  ASSERT_TRUE(opened);
  server_.pause();
  const auto failed = run(opened->state->runs().commit(record("r")));
  server_.resume();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Errc::unavailable);
  EXPECT_THAT(failed.error().message, testing::HasSubstr("does not answer"));
  close(*opened);
}

TEST_F(PostgresDeath, ClosingDoesNotWaitForAServerThatIsAway) {
  auto asked = options(url_);
  asked.patience = milliseconds(50);
  const auto opened = node(asked);
  ASSERT_TRUE(opened);
  server_.kill();
  EXPECT_FALSE(run(opened->state->runs().commit(record("r"))));
  close(*opened);
}

}  // namespace
}  // namespace millrace::test
