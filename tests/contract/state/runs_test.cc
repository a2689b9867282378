#include <gmock/gmock.h>

#include <algorithm>

#include "async/task_group.h"
#include "tests/contract/state/backends.h"

namespace millrace::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class RunContract : public StateContract {
 protected:
  RunStore& runs() { return state().runs(); }

  void commit(RunRecord run) {
    const auto result = this->run(runs().commit(std::move(run)));
    ASSERT_TRUE(result) << result.error().message;
    ASSERT_TRUE(result->won);
  }

  std::vector<std::string> list(RunFilter wanted) {
    const auto found = run(runs().list(std::move(wanted)));
    EXPECT_TRUE(found) << found.error().message;
    return found ? ids(*found) : std::vector<std::string>();
  }
};

// By position, since most tests set one or two.
RunFilter filter(std::string function, std::optional<RunOutcome> outcome = {}, std::optional<WallTime> since = {},
                 const std::string& before = "") {
  RunFilter made;
  made.function = std::move(function);
  made.outcome = outcome;
  made.since = since;
  made.before = RunId(before);
  return made;
}

RunFilter page_of(std::size_t limit) {
  RunFilter made;
  made.limit = limit;
  return made;
}

TEST_P(RunContract, KeepsEveryMemberOfARecord) {
  const RunRecord written = record("r1");
  const auto committed = run(runs().commit(written));
  ASSERT_TRUE(committed);
  EXPECT_TRUE(committed->won);
  expect_same(committed->standing, written);
  reopen();
  const auto found = run(runs().get(written.run_id));
  ASSERT_TRUE(found && *found);
  expect_same(**found, written);
}

TEST_P(RunContract, TellsTheNewestOrderWheneverItsRunWasCommitted) {
  EXPECT_EQ(*run(runs().newest_order()), Order());
  for (const auto& [run_id, order] : {std::pair{"r1", "01B"}, {"r2", "01C"}, {"r3", "01A"}}) {
    RunRecord written = record(run_id);
    written.order = Order(order);
    commit(std::move(written));
  }
  EXPECT_EQ(*run(runs().newest_order()), Order("01C"));
  reopen();
  EXPECT_EQ(*run(runs().newest_order()), Order("01C"));
}

TEST_P(RunContract, KeepsARecordWithNothingInIt) {
  RunRecord written;
  written.run_id = RunId("r1");
  commit(written);
  reopen();
  const auto found = run(runs().get(written.run_id));
  ASSERT_TRUE(found && *found);
  expect_same(**found, written);
  const auto caused = run(runs().caused_by(RunId()));
  ASSERT_TRUE(caused);
  EXPECT_THAT(*caused, IsEmpty()) << "a root has no cause, not the empty one";
}

TEST_P(RunContract, KnowsWhatIsNotThere) {
  const auto found = run(runs().get(RunId("nothing")));
  ASSERT_TRUE(found);
  EXPECT_FALSE(*found);
  const auto marked = run(runs().mark(RunId("nothing"), {.placed = true}));
  ASSERT_FALSE(marked);
  EXPECT_EQ(marked.error().code, Errc::not_found);
}

TEST_P(RunContract, TheFirstCommitStands) {
  commit(record("r1"));
  RunRecord late = record("r1", 5);
  late.token = AttemptToken("late");
  late.outputs = {output("late.jpg")};
  const auto lost = run(runs().commit(late));
  ASSERT_TRUE(lost);
  EXPECT_FALSE(lost->won);
  expect_same(lost->standing, record("r1"));
  const auto found = run(runs().get(RunId("r1")));
  ASSERT_TRUE(found && *found);
  expect_same(**found, record("r1"));
}

Task<void> race(RunStore& runs, int number, std::vector<CommitResult>& results) {
  RunRecord mine = record("r" + std::to_string(number % 4));
  mine.token = AttemptToken("token " + std::to_string(number));
  mine.outputs = {output("made by " + std::to_string(number))};
  auto result = co_await runs.commit(std::move(mine));
  if (result) results.push_back(std::move(*result));
}

TEST_P(RunContract, OfManyCommitsAtOnceExactlyOneWinsAndTheOthersGetItsRecord) {
  constexpr int kRacers = 400;  // a hundred for each of four runs
  std::vector<CommitResult> results;
  TaskGroup group(loop_);
  for (int i = 0; i < kRacers; ++i) group.spawn(race(runs(), i, results));
  run_task(loop_, group.join());
  ASSERT_EQ(results.size(), static_cast<std::size_t>(kRacers));
  for (int i = 0; i < 4; ++i) {
    const RunId run_id("r" + std::to_string(i));
    EXPECT_EQ(std::ranges::count_if(results, [&](const auto& one) { return one.won && one.standing.run_id == run_id; }),
              1);
    const auto stands = run(runs().get(run_id));
    ASSERT_TRUE(stands && *stands);
    for (const auto& one : results) {
      if (one.standing.run_id == run_id) expect_same(one.standing, **stands);
    }
  }
}

class DurableRunContract : public RunContract {};

// What makes a commit affordable: a hundred that come together cost a few syncs, and each is durable when it is told.
TEST_P(DurableRunContract, CommitsThatComeTogetherShareTheirSyncs) {
  constexpr int kWriters = 400;
  Counter& transactions = metrics_.counter("millrace_state_transactions_total", "", {{"side", "write"}});
  const auto before = transactions.value();
  std::vector<CommitResult> results;
  TaskGroup group(loop_);
  for (int i = 0; i < kWriters; ++i) group.spawn(race(runs(), i, results));
  run_task(loop_, group.join());
  ASSERT_EQ(results.size(), static_cast<std::size_t>(kWriters));
  EXPECT_GE(transactions.value(), before + 1);
  EXPECT_LE(transactions.value(), before + kWriters / 10);
  reopen();
  for (const auto& one : results) {
    const auto stands = run(runs().get(one.standing.run_id));
    ASSERT_TRUE(stands && *stands);
    EXPECT_EQ((*stands)->token, one.standing.token);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, DurableRunContract, testing::ValuesIn(durable_backends()), backend_name);

TEST_P(RunContract, RefusesARecordThatCannotBe) {
  const auto nameless = run(runs().commit(RunRecord{}));
  ASSERT_FALSE(nameless);
  EXPECT_EQ(nameless.error().code, Errc::invalid_argument);

  RunRecord fits = record("fits");
  fits.log_tail = std::string(kLogTailBytesMax, 'x');
  commit(fits);
  RunRecord wide = record("wide");
  wide.log_tail = std::string(kLogTailBytesMax + 1, 'x');
  const auto refused = run(runs().commit(wide));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::too_large);
}

TEST_P(RunContract, KeepsTheOrderOfManyOutputs) {
  RunRecord written = record("r1");
  written.outputs.clear();
  for (int i = 0; i < 1000; ++i) written.outputs.push_back(output(std::to_string((i * 7) % 1000)));
  commit(written);
  const auto found = run(runs().get(written.run_id));
  ASSERT_TRUE(found && *found);
  expect_same(**found, written);
}

TEST_P(RunContract, MarksAreKeptAndMayBeRepeated) {
  commit(record("r1"));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(run(runs().mark(RunId("r1"), {.placed = true})));
  auto found = run(runs().get(RunId("r1")));
  ASSERT_TRUE(found && *found);
  EXPECT_TRUE((*found)->placed);
  EXPECT_FALSE((*found)->published);
  ASSERT_TRUE(run(runs().mark(RunId("r1"), {.published = true})));
  reopen();
  found = run(runs().get(RunId("r1")));
  ASSERT_TRUE(found && *found);
  EXPECT_TRUE((*found)->placed);
  EXPECT_TRUE((*found)->published);
}

TEST_P(RunContract, MarksBringTheSeenRowsOfTheirOutputsOrNothing) {
  commit(record("r1"));
  const SeenRows rows{{"t1", {{"a", EventId("e1")}, {"b", EventId("e2")}}}, {"t2", {{"a", EventId("e3")}}}};
  EXPECT_FALSE(run(runs().mark(RunId("nothing"), {.placed = true, .seen = rows})));
  ASSERT_TRUE(run(state().seen().all("t1"))->empty());
  ASSERT_TRUE(run(runs().mark(RunId("r1"), {.placed = true, .published = true, .seen = rows})));
  reopen();
  EXPECT_EQ(*run(state().seen().all("t1")), rows.at("t1"));
  EXPECT_EQ(*run(state().seen().all("t2")), rows.at("t2"));
  const auto found = run(runs().get(RunId("r1")));
  ASSERT_TRUE(found && *found);
  EXPECT_TRUE((*found)->placed && (*found)->published);
}

TEST_P(RunContract, AWriteIsSeenByWhoeverReadsAfterIt) {
  for (int i = 0; i < 50; ++i) {
    const RunId run_id("r" + std::to_string(i));
    commit(record(run_id.str()));
    const auto found = run(runs().get(run_id));
    ASSERT_TRUE(found && *found);
  }
}

TEST_P(RunContract, ListsTheNewestFirstWithoutLongTexts) {
  commit(record("b", 1));
  commit(record("a", 2));
  commit(record("c", 0));
  commit(record("d", 1));  // as late as b
  const auto found = run(runs().list({}));
  ASSERT_TRUE(found);
  EXPECT_THAT(ids(*found), ElementsAre("a", "d", "b", "c"));
  RunRecord expected = record("a", 2);
  expected.log_tail.clear();
  expected.result.clear();
  expect_same(found->front(), expected);
}

TEST_P(RunContract, PagesMeetWithoutGapOrRepeat) {
  for (int i = 0; i < 25; ++i) commit(record("r" + std::to_string(i), i / 3));  // many are committed together
  const auto all = list(page_of(1000));
  ASSERT_EQ(all.size(), 25U);
  for (const std::size_t page : {1U, 2U, 7U, 25U, 26U}) {
    std::vector<std::string> paged;
    for (RunFilter next = page_of(page);;) {
      const auto part = list(next);
      if (part.empty()) break;
      EXPECT_LE(part.size(), page);
      paged.insert(paged.end(), part.begin(), part.end());
      next.before = RunId(part.back());
    }
    EXPECT_EQ(paged, all) << "pages of " << page;
  }
}

TEST_P(RunContract, ListsByFunctionOutcomeAndTimeAndAllOfThem) {
  int number = 0;
  for (const char* function : {"f", "g"}) {
    for (const auto outcome : {RunOutcome::succeeded, RunOutcome::failed, RunOutcome::skipped}) {
      RunRecord one = record(std::string(function) + std::to_string(number), number);
      one.function = function;
      one.outcome = outcome;
      commit(one);
      ++number;
    }
  }
  EXPECT_THAT(list(filter("f")), ElementsAre("f2", "f1", "f0"));
  EXPECT_THAT(list(filter("nobody")), IsEmpty());
  EXPECT_THAT(list(filter("", RunOutcome::failed)), ElementsAre("g4", "f1"));
  EXPECT_THAT(list(filter("", RunOutcome::succeeded)), ElementsAre("g3", "f0"));
  EXPECT_THAT(list(filter("", {}, at(4))), ElementsAre("g5", "g4"));
  EXPECT_THAT(list(filter("", {}, {}, "f2")), ElementsAre("f1", "f0"));
  EXPECT_THAT(list(filter("", RunOutcome::failed, {}, "g4")), ElementsAre("f1"));
  EXPECT_THAT(list(filter("g", RunOutcome::skipped, at(5))), ElementsAre("g5"));
  EXPECT_THAT(list(filter("g", RunOutcome::skipped, at(6))), IsEmpty());
}

TEST_P(RunContract, RefusesListsWithoutBoundOrFromNowhere) {
  for (const std::size_t limit : {std::size_t{0}, kRunListMax + 1}) {
    const auto refused = run(runs().list(page_of(limit)));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::invalid_argument);
    const auto unfinished = run(runs().unfinished(at(0), {}, limit));
    ASSERT_FALSE(unfinished);
    EXPECT_EQ(unfinished.error().code, Errc::invalid_argument);
  }
  const auto nowhere = run(runs().list(filter("", {}, {}, "nothing")));
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, Errc::not_found);
}

TEST_P(RunContract, UnfinishedAreThoseThatMissAMarkOldestFirst) {
  for (int i = 0; i < 5; ++i) commit(record("r" + std::to_string(i), 10 - i));
  RunRecord born_done = record("done", 0);
  born_done.placed = true;
  born_done.published = true;
  commit(born_done);
  for (const char* run_id : {"r0", "r1"}) ASSERT_TRUE(run(runs().mark(RunId(run_id), {.placed = true})));
  ASSERT_TRUE(run(runs().mark(RunId("r1"), {.published = true})));

  const auto all = run(runs().unfinished(at(100), {}, 100));
  ASSERT_TRUE(all);
  EXPECT_THAT(ids(*all), ElementsAre("r4", "r3", "r2", "r0"));
  EXPECT_EQ(all->front().outputs.size(), 2U);
  const auto early = run(runs().unfinished(at(8), {}, 100));
  ASSERT_TRUE(early);
  EXPECT_THAT(ids(*early), ElementsAre("r4", "r3"));
  const auto few = run(runs().unfinished(at(100), {}, 3));
  ASSERT_TRUE(few);
  EXPECT_THAT(ids(*few), ElementsAre("r4", "r3", "r2"));
}

TEST_P(RunContract, UnfinishedOnesArePagedThroughFromTheOneBefore) {
  for (int i = 0; i < 4; ++i) commit(record("r" + std::to_string(i), i < 2 ? 1 : 2));  // pairs of one time
  RunRecord done = record("done", 3);
  done.placed = done.published = true;
  commit(done);
  std::vector<std::string> walked;
  RunId after;
  for (;;) {
    const auto page = run(runs().unfinished(at(100), after, 1));
    ASSERT_TRUE(page);
    if (page->empty()) break;
    after = page->back().run_id;
    walked.push_back(after.str());
  }
  EXPECT_THAT(walked, ElementsAre("r0", "r1", "r2", "r3"));
  ASSERT_TRUE(run(runs().mark(RunId("r1"), {.placed = true, .published = true})));
  const auto rest = run(runs().unfinished(at(100), RunId("r1"), 100));
  ASSERT_TRUE(rest);
  EXPECT_THAT(ids(*rest), ElementsAre("r2", "r3")) << "where the walk goes on may be finished meanwhile";
  const auto nowhere = run(runs().unfinished(at(100), RunId("nothing"), 100));
  ASSERT_TRUE(nowhere);
  EXPECT_THAT(*nowhere, IsEmpty());
}

TEST_P(RunContract, FindsWhatAnEventStartedAndWhatARunCaused) {
  RunRecord root = record("root", 1);
  root.event_id = EventId("e");
  root.cause = RunId();
  RunRecord other = record("other", 0);
  other.event_id = EventId("e");
  RunRecord child = record("child", 2);
  child.cause = RunId("root");
  commit(root);
  commit(other);
  commit(child);
  const auto started = run(runs().of_event(EventId("e")));
  ASSERT_TRUE(started);
  EXPECT_THAT(ids(*started), ElementsAre("other", "root"));
  const auto caused = run(runs().caused_by(RunId("root")));
  ASSERT_TRUE(caused);
  EXPECT_THAT(ids(*caused), ElementsAre("child"));
  const auto nothing = run(runs().caused_by(RunId("child")));
  ASSERT_TRUE(nothing);
  EXPECT_THAT(*nothing, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Backends, RunContract, testing::ValuesIn(backends()), backend_name);

}  // namespace
}  // namespace millrace::test
