#include "producers/candidates.h"

#include <gmock/gmock.h>

#include <deque>
#include <map>
#include <optional>

#include "async/sim_event_loop.h"
#include "async/sleep.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

Verdict of_kind(Verdict::Kind kind) {
  return {.kind = kind, .settling = {}, .error = {}};
}
Verdict failed(Errc code) {
  return {.kind = Verdict::Kind::failed, .settling = {}, .error = {.code = code, .message = "injected"}};
}
Verdict settling(seconds wait, bool changed) {
  return {.kind = Verdict::Kind::settling,
          .wait = wait,
          .settling = Settling{.version = {}, .since = {}},
          .changed = changed,
          .error = {}};
}

// Says what it is told to say about a key, then `done`.
class ScriptedExaminer final : public CandidateExaminer {
 public:
  explicit ScriptedExaminer(EventLoop& loop) : loop_(loop) {}

  std::map<std::string, std::deque<Verdict>> verdicts;
  std::vector<std::string> examined;
  std::vector<bool> had_settling;
  std::size_t at_once = 0;
  std::size_t at_once_max = 0;
  bool hold = false;

  Task<Verdict> examine(ObjectName name, std::optional<Settling> settling) override {
    examined.push_back(name.key);
    had_settling.push_back(settling.has_value());
    at_once_max = std::max(at_once_max, ++at_once);
    if (hold) {
      const OneShot<bool> let_go(loop_);
      held_.push_back(let_go);
      co_await let_go.wait();
    }
    --at_once;
    auto& next = verdicts[name.key];
    if (next.empty()) co_return Verdict{};
    Verdict verdict = next.front();
    next.pop_front();
    co_return verdict;
  }

  void let_go() {
    for (const auto& one : std::exchange(held_, {})) one.set(true);
  }

 private:
  EventLoop& loop_;
  std::vector<OneShot<bool>> held_;
};

class CandidatesTest : public ::testing::Test {
 protected:
  Candidates& make(Candidates::Options options = {}) {
    candidates_.emplace(loop, examiner, options, metrics, log);
    return *candidates_;
  }

  // What settled() said, once it says something.
  struct Answer {
    bool there = false;
    Result<void> result;
  };
  static Task<void> ask(Candidates& candidates, Answer& answer) {
    answer.result = co_await candidates.settled();
    answer.there = true;
  }
  static Task<void> ask_until(Candidates& candidates, std::stop_token stop, Answer& answer) {
    answer.result = co_await candidates.settled(stop);
    answer.there = true;
  }
  static Task<void> wait_for_room(Candidates& candidates, std::stop_token stop, Answer& answer) {
    answer.result = co_await candidates.room(stop);
    answer.there = true;
  }
  void now() { loop.run_for(EventLoop::Duration(0)); }

  SimEventLoop loop;
  Metrics metrics;
  Log log{{.level = LogLevel::error}};
  ScriptedExaminer examiner{loop};
  std::optional<Candidates> candidates_;
  TaskGroup group{loop};
};

TEST_F(CandidatesTest, ExaminesANameOnceThatIsToldManyTimesMeanwhile) {
  auto& candidates = make({.concurrent_max = 1});
  examiner.hold = true;
  candidates.add({"b", "first"});
  for (int i = 0; i < 5; ++i) candidates.add({"b", "second"});
  EXPECT_EQ(candidates.size(), 2U);
  examiner.hold = false;
  examiner.let_go();
  now();
  EXPECT_THAT(examiner.examined, ElementsAre("first", "second"));
  EXPECT_EQ(candidates.size(), 0U);
}

TEST_F(CandidatesTest, ExaminesANameAgainThatWasToldDuringItsExamination) {
  auto& candidates = make();
  examiner.hold = true;
  candidates.add({"b", "a"});
  candidates.add({"b", "a"});
  candidates.add({"b", "a"});
  examiner.hold = false;
  examiner.let_go();
  now();
  EXPECT_THAT(examiner.examined, ElementsAre("a", "a"));
}

TEST_F(CandidatesTest, WhoNoLongerWantsToKnowIsToldSoAndForgotten) {
  auto& candidates = make();
  examiner.hold = true;
  candidates.add({"b", "a"});
  std::stop_source stop;
  Answer impatient;
  Answer patient;
  group.spawn(ask_until(candidates, stop.get_token(), impatient));
  group.spawn(ask(candidates, patient));
  now();
  EXPECT_FALSE(impatient.there);
  stop.request_stop();
  now();
  ASSERT_TRUE(impatient.there);
  EXPECT_EQ(impatient.result.error().code, Errc::cancelled);
  EXPECT_FALSE(patient.there);
  examiner.hold = false;
  examiner.let_go();
  now();
  ASSERT_TRUE(patient.there);
  EXPECT_TRUE(patient.result);
}

TEST_F(CandidatesTest, TellsBucketsApart) {
  auto& candidates = make();
  examiner.hold = true;
  candidates.add({"one", "a"});
  candidates.add({"two", "a"});
  EXPECT_THAT(examiner.examined, ElementsAre("a", "a"));
}

TEST_F(CandidatesTest, ExaminesABoundedNumberAtATime) {
  auto& candidates = make({.concurrent_max = 3});
  examiner.hold = true;
  for (int i = 0; i < 10; ++i) candidates.add({"b", std::to_string(i)});
  now();
  EXPECT_EQ(examiner.at_once, 3U);
  examiner.hold = false;
  examiner.let_go();
  now();
  EXPECT_EQ(examiner.examined.size(), 10U);
  EXPECT_EQ(examiner.at_once_max, 3U);
}

TEST_F(CandidatesTest, MakesThoseWaitWhoAddToAFullHouse) {
  auto& candidates = make({.candidates_max = 2});
  examiner.hold = true;
  Answer early;
  group.spawn(wait_for_room(candidates, {}, early));
  EXPECT_TRUE(early.there);
  candidates.add({"b", "a"});
  candidates.add({"b", "b"});
  Answer late;
  group.spawn(wait_for_room(candidates, {}, late));
  Answer stopped;
  std::stop_source stop;
  group.spawn(wait_for_room(candidates, stop.get_token(), stopped));
  now();
  EXPECT_FALSE(late.there);
  stop.request_stop();
  now();
  ASSERT_TRUE(stopped.there);
  EXPECT_EQ(stopped.result.error().code, Errc::cancelled);
  examiner.let_go();
  now();
  EXPECT_TRUE(late.there && late.result);
}

TEST_F(CandidatesTest, LooksAtAWritersFileAgainWithGrowingPauses) {
  auto& candidates = make({.writer_base = milliseconds(100), .writer_cap = milliseconds(300)});
  for (int i = 0; i < 4; ++i) examiner.verdicts["a"].push_back(of_kind(Verdict::Kind::writer));
  candidates.add({"b", "a"});
  std::vector<EventLoop::TimePoint> looks;
  for (std::size_t seen = 0; candidates.size() != 0;) {
    if (examiner.examined.size() != seen) looks.push_back(loop.now());
    seen = examiner.examined.size();
    loop.run_for(milliseconds(1));
  }
  ASSERT_EQ(looks.size(), 4U);  // the fifth look ended it
  EXPECT_EQ(looks[1] - looks[0], milliseconds(100));
  EXPECT_EQ(looks[2] - looks[1], milliseconds(200));
  EXPECT_EQ(looks[3] - looks[2], milliseconds(300));
}

TEST_F(CandidatesTest, LooksAtOnceWhenAWritersFileIsNotified) {
  auto& candidates = make({.writer_base = seconds(100)});
  examiner.verdicts["a"].push_back(of_kind(Verdict::Kind::writer));
  candidates.add({"b", "a"});
  now();
  EXPECT_EQ(candidates.size(), 1U);
  candidates.add({"b", "a"});
  now();
  EXPECT_EQ(candidates.size(), 0U);
}

TEST_F(CandidatesTest, ForgetsWritersFilesThatAreTooManyAndLeavesRoomBesideThem) {
  auto& candidates = make({.candidates_max = 1, .writers_max = 2});
  for (const char* key : {"a", "b", "c"}) {
    examiner.verdicts[key].assign(1000, of_kind(Verdict::Kind::writer));
    candidates.add({"b", key});
    now();
  }
  EXPECT_EQ(candidates.size(), 2U);
  EXPECT_EQ(metrics.counter("millrace_watch_writers_forgotten_total", "").value(), 1U);
  Answer room;
  group.spawn(wait_for_room(candidates, {}, room));
  EXPECT_TRUE(room.there && room.result);
}

TEST_F(CandidatesTest, RetriesWhatFailedUntilItSucceeds) {
  auto& candidates = make();
  examiner.verdicts["a"].assign(20, failed(Errc::unavailable));
  candidates.add({"b", "a"});
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(examiner.examined.size(), 21U);
  EXPECT_EQ(candidates.size(), 0U);
}

TEST_F(CandidatesTest, WaitsAsLongAsAnErrorAsks) {
  auto& candidates = make();
  auto verdict = failed(Errc::resource_exhausted);
  verdict.error.retry_after = seconds(50);
  examiner.verdicts["a"].push_back(verdict);
  candidates.add({"b", "a"});
  loop.run_for(milliseconds(49'999));
  EXPECT_EQ(examiner.examined.size(), 1U);
  loop.run_for(milliseconds(1));
  EXPECT_EQ(examiner.examined.size(), 2U);
}

TEST_F(CandidatesTest, HandsTheSettlingVersionToTheNextLook) {
  auto& candidates = make();
  examiner.verdicts["a"].push_back(settling(seconds(2), false));
  candidates.add({"b", "a"});
  loop.run_for(milliseconds(1'999));
  EXPECT_THAT(examiner.had_settling, ElementsAre(false));
  loop.run_for(milliseconds(1));
  EXPECT_THAT(examiner.had_settling, ElementsAre(false, true));
  EXPECT_EQ(candidates.size(), 0U);
}

TEST_F(CandidatesTest, SettledReturnsAtOnceWhenNothingIsThere) {
  auto& candidates = make();
  Answer answer;
  group.spawn(ask(candidates, answer));
  EXPECT_TRUE(answer.there && answer.result);
}

TEST_F(CandidatesTest, SettledWaitsForEveryNameThereIs) {
  auto& candidates = make({.concurrent_max = 1});
  examiner.hold = true;
  candidates.add({"b", "a"});
  candidates.add({"b", "b"});
  Answer answer;
  group.spawn(ask(candidates, answer));
  now();
  EXPECT_FALSE(answer.there);
  examiner.let_go();  // of "a"; "b" begins
  now();
  EXPECT_FALSE(answer.there);
  candidates.add({"b", "later"});
  examiner.let_go();
  now();
  EXPECT_TRUE(answer.there && answer.result);
  EXPECT_EQ(candidates.size(), 1U);
}

// The look that is under way may be older than the notification.
TEST_F(CandidatesTest, SettledWaitsForTheLookAfterTheLastNotification) {
  auto& candidates = make();
  examiner.hold = true;
  candidates.add({"b", "a"});
  Answer first;
  group.spawn(ask(candidates, first));
  candidates.add({"b", "a"});
  Answer second;
  group.spawn(ask(candidates, second));
  examiner.let_go();
  now();
  EXPECT_TRUE(first.there);
  EXPECT_FALSE(second.there);
  examiner.let_go();
  now();
  EXPECT_TRUE(second.there && second.result);
}

TEST_F(CandidatesTest, SettledLooksAgainAtWritersFilesAndDoesNotWaitForThem) {
  auto& candidates = make();
  examiner.verdicts["open"].assign(2, of_kind(Verdict::Kind::writer));
  examiner.verdicts["closed"].assign(1, of_kind(Verdict::Kind::writer));
  candidates.add({"b", "open"});
  candidates.add({"b", "closed"});
  now();
  EXPECT_EQ(candidates.size(), 2U);
  Answer answer;
  group.spawn(ask(candidates, answer));
  now();
  EXPECT_TRUE(answer.there && answer.result);
  EXPECT_EQ(candidates.size(), 1U);
}

TEST_F(CandidatesTest, SettledWaitsForAFileToSettleUnlessItIsChanged) {
  auto& candidates = make();
  examiner.verdicts["still"].push_back(settling(seconds(2), false));
  examiner.verdicts["busy"] = {settling(seconds(1), false), settling(seconds(5), true)};
  candidates.add({"b", "still"});
  candidates.add({"b", "busy"});
  Answer answer;
  group.spawn(ask(candidates, answer));
  loop.run_for(milliseconds(1'999));
  EXPECT_FALSE(answer.there);
  loop.run_for(milliseconds(1));
  EXPECT_TRUE(answer.there && answer.result);
  EXPECT_EQ(candidates.size(), 1U);
}

TEST_F(CandidatesTest, SettledReportsAFailureAtOnceAndTriesWaitingNamesNow) {
  auto& candidates = make({.retry_base = seconds(1000), .retry_cap = seconds(1000)});
  examiner.verdicts["a"].assign(2, failed(Errc::unavailable));
  examiner.verdicts["slow"].push_back(settling(seconds(100), false));
  candidates.add({"b", "slow"});
  candidates.add({"b", "a"});
  now();
  Answer bad;
  group.spawn(ask(candidates, bad));
  now();
  ASSERT_TRUE(bad.there);
  EXPECT_EQ(bad.result.error().code, Errc::unavailable);
  Answer good;
  group.spawn(ask(candidates, good));
  loop.run_for(seconds(100));
  EXPECT_TRUE(good.there && good.result);
  EXPECT_EQ(candidates.size(), 0U);
}

TEST_F(CandidatesTest, CloseLetsTheCurrentLooksFinishAndForgetsTheRest) {
  auto& candidates = make({.concurrent_max = 1});
  examiner.hold = true;
  candidates.add({"b", "current"});
  candidates.add({"b", "queued"});
  Answer asked;
  group.spawn(ask(candidates, asked));
  bool closed = false;
  group.spawn([](Candidates& closing, bool& done) -> Task<void> {
    co_await closing.close();
    done = true;
  }(candidates, closed));
  now();
  EXPECT_FALSE(closed);
  ASSERT_TRUE(asked.there);
  EXPECT_EQ(asked.result.error().code, Errc::cancelled);
  examiner.let_go();
  now();
  EXPECT_TRUE(closed);
  EXPECT_THAT(examiner.examined, ElementsAre("current"));
  candidates.add({"b", "too late"});
  EXPECT_EQ(candidates.size(), 0U);
}

}  // namespace
}  // namespace millrace
