// Several nodes on one state store: what each of them clears up, takes over and awaits.
#include <gmock/gmock.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/awaited_runs.h"
#include "engine/nodes.h"
#include "engine/sweeper.h"
#include "tests/support/engine_rig.h"
#include "tests/support/fake_shared_state.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::IsEmpty;

NodeRow row(const std::string& name, const std::string& roles = "gateway,worker") {
  NodeRow row;
  row.name = name;
  row.identity = name;
  row.session = name;
  row.roles = roles;
  return row;
}

class SharedSweep : public testing::Test {
 public:
  ~SharedSweep() override {
    stop_.request_stop();
    their_stop_.request_stop();
    rig_.loop.run_for(0s);
  }

 protected:
  static constexpr SweeperOptions kOptions{.every = 10s, .age_min = 60s, .batch = 3};

  SharedSweep() {
    sweeper_.heed(nodes_);
    EXPECT_TRUE(rig_.wait(nodes_.join()));
    EXPECT_TRUE(rig_.wait(theirs_.join()));
    rig_.group.spawn(nodes_.run(stop_.get_token(), [] {}));
    rig_.group.spawn(theirs_.run(their_stop_.get_token(), [] {}));
  }

  Attempt begun(const std::string& number, const std::string& node) {
    Attempt attempt;
    attempt.run_id = RunId(identity_hash({"run", number}));
    attempt.token = AttemptToken(identity_hash({"token", number}));
    attempt.bucket = "out";
    attempt.node = node;
    attempt.started_at = rig_.loop.wall_now();
    EXPECT_TRUE(rig_.wait(rig_.parts.state.runs().begin_attempt(attempt)));
    (void)rig_.wait(
        rig_.parts.storage.make_attempt({.bucket = "out", .run_id = attempt.run_id, .token = attempt.token}));
    return attempt;
  }
  std::optional<AttemptOutcome> outcome(const Attempt& attempt) {
    return rig_.wait(rig_.parts.state.runs().attempts(attempt.run_id))->at(0).outcome;
  }
  void sweep_for(EventLoop::Duration span) {
    if (!sweeping_) rig_.group.spawn(sweeper_.run(stop_.get_token()));
    sweeping_ = true;
    rig_.loop.run_for(span);
  }
  bool finished(const RunRecord& record) { return rig_.row(record.run_id)->placed; }

  EngineRig rig_;
  FakeSharedState shared_{rig_.loop};
  FakeSharedState::View end_{shared_};
  FakeSharedState::View their_end_{shared_};
  Nodes nodes_{rig_.loop, &end_, row("node-1"), [](NodeRow&) {}, {.lease = 15s}, rig_.parts.log};
  Nodes theirs_{rig_.loop, &their_end_, row("node-2"), [](NodeRow&) {}, {.lease = 15s}, rig_.parts.log};
  std::stop_source stop_;
  std::stop_source their_stop_;
  Sweeper sweeper_{rig_.loop,       rig_.parts.state, rig_.parts.storage, rig_.parts.finish,
                   rig_.parts.runs, "node-1",         kOptions,           rig_.parts.log};
  bool sweeping_ = false;
};

TEST_F(SharedSweep, AnAttemptOfALivingNodeIsLeftAloneHoweverOldItIs) {
  const Attempt theirs = begun("x", "node-2");
  sweep_for(24h);
  EXPECT_EQ(outcome(theirs), std::nullopt);
}

TEST_F(SharedSweep, WhatADeadNodeHadBegunIsClearedUpAsSoonAsItsLeaseHasRunOut) {
  const Attempt theirs = begun("x", "node-2");
  their_stop_.request_stop();
  sweep_for(10s);
  EXPECT_EQ(outcome(theirs), std::nullopt);
  sweep_for(20s);
  EXPECT_EQ(outcome(theirs), AttemptOutcome::lost);
  EXPECT_EQ(rig_.parts.storage.attempts(), 0U);
}

TEST_F(SharedSweep, ADirectoryThatNoRowClaimsGoesOnceItIsTooOldToBeInTheMaking) {
  const auto lies = [this](const std::string& number) {
    EXPECT_TRUE(rig_.wait(rig_.parts.storage.make_attempt(
        {.bucket = "out",
         .run_id = RunId(identity_hash({"run", number})),
         .token = AttemptToken(rig_.parts.state.id() + identity_hash({"token", number}).substr(0, 24))})));
  };
  lies("of a node that died before its row was there");
  rig_.loop.run_for(1s);
  sweep_for(40s);
  lies("in the making");
  EXPECT_EQ(rig_.parts.storage.attempts(), 2U);
  sweep_for(30s);
  EXPECT_EQ(rig_.parts.storage.attempts(), 1U);
  sweep_for(60s);
  EXPECT_EQ(rig_.parts.storage.attempts(), 0U);
}

TEST_F(SharedSweep, ADirectoryThatCouldNotBeRemovedIsTriedAgain) {
  const AttemptPlace place{.bucket = "out", .run_id = RunId("run"), .token = AttemptToken("token")};
  EXPECT_TRUE(rig_.wait(rig_.parts.storage.make_attempt(place)));
  rig_.parts.storage.fail_next(StorageCall::remove_attempt, 2, {.code = Errc::unavailable, .message = "away"});
  sweeper_.left(place);
  sweep_for(15s);
  EXPECT_EQ(rig_.parts.storage.attempts(), 1U);
  sweep_for(10s);
  EXPECT_EQ(rig_.parts.storage.attempts(), 0U);
}

TEST_F(SharedSweep, ManyLongRunsOfTheLivingKeepTheDeadNotBack) {
  std::vector<Attempt> living;
  for (int i = 0; i < 10; ++i) living.push_back(begun("living " + std::to_string(i), "node-2"));
  rig_.loop.run_for(1s);
  const Attempt dead = begun("dead", "node-3");  // never on the list: gone for long
  sweep_for(11s);
  EXPECT_EQ(outcome(dead), AttemptOutcome::lost);
  for (const auto& attempt : living) EXPECT_EQ(outcome(attempt), std::nullopt);
}

TEST_F(SharedSweep, AtStartOnlyOwnAttemptsGoHoweverManyOthersThereAre) {
  std::vector<Attempt> living;
  for (int i = 0; i < 10; ++i) living.push_back(begun("living " + std::to_string(i), "node-2"));
  rig_.loop.run_for(1s);
  const Attempt own = begun("own", "node-1");
  rig_.group.spawn(sweeper_.drop_own_attempts());
  rig_.loop.run_for(0s);
  EXPECT_EQ(outcome(own), AttemptOutcome::lost);
  for (const auto& attempt : living) EXPECT_EQ(outcome(attempt), std::nullopt);
}

TEST_F(SharedSweep, OnlyTheFirstOfTheLivingClearsUpBehindTheDead) {
  FakeSharedState::View earlier_end(shared_);
  Nodes earlier(rig_.loop, &earlier_end, row("node-0"), [](NodeRow&) {}, {.lease = 24h}, rig_.parts.log);
  ASSERT_TRUE(rig_.wait(earlier.join()));
  const Attempt dead = begun("dead", "node-3");
  const Attempt own = begun("own", "node-1");
  sweep_for(2h);
  EXPECT_EQ(outcome(dead), std::nullopt);
  EXPECT_EQ(outcome(own), AttemptOutcome::lost) << "whose end could not be written";
}

TEST_F(SharedSweep, WhileItIsNotKnownWhoLivesNothingIsClearedUp) {
  const Attempt dead = begun("dead", "node-3");
  end_.away = true;
  sweep_for(1h);
  EXPECT_EQ(outcome(dead), std::nullopt);
  end_.away = false;
  sweep_for(20s);
  EXPECT_EQ(outcome(dead), AttemptOutcome::lost);
}

TEST_F(SharedSweep, RowsOfTheLivingAreTheirsToFinish) {
  RunRecord own = rig_.committed("first", "out", {"own"});  // by node-1
  sweep_for(61s);
  EXPECT_FALSE(finished(own)) << "too young";
  sweep_for(20s);
  EXPECT_TRUE(finished(own));
}

class SharedFunctions : public testing::Test {
 protected:
  // What another node does to the store.
  void put(FunctionSpec spec, const std::string& uid, std::uint64_t revision) {
    spec.uid = FunctionUid(uid);
    spec.revision = revision;
    ASSERT_TRUE(rig_.wait(rig_.parts.state.functions().put(std::move(spec))));
  }
  std::vector<std::string> names() {
    std::vector<std::string> names;
    for (const auto& function : rig_.parts.registry.all()) names.push_back(function->name);
    return names;
  }
  void refresh() { ASSERT_TRUE(rig_.wait(rig_.parts.registry.refresh())); }

  EngineRig rig_;
};

TEST_F(SharedFunctions, WhatAnotherNodeAppliedIsTakenOverPreparedAndMatched) {
  put(EngineParts::function("theirs", "in", "out"), "uid", 1);
  refresh();
  EXPECT_THAT(names(), ElementsAre("theirs"));
  EXPECT_EQ(rig_.parts.registry.match({.bucket = "in", .key = "a", .version = {}, .private_path = {}}).size(), 1U);
  EXPECT_THAT(*rig_.wait(rig_.parts.broker.topics()), testing::Contains(work_topic("theirs")));
}

TEST_F(SharedFunctions, ANewRevisionAndANewUidReplaceWhatWasHere) {
  put(EngineParts::function("theirs"), "uid", 1);
  refresh();
  const auto first = rig_.parts.registry.find("theirs");
  put(EngineParts::function("theirs"), "uid", 2);
  refresh();
  EXPECT_EQ(rig_.parts.registry.find("theirs")->revision, 2U);
  EXPECT_EQ(first->revision, 1U) << "who holds the old one keeps it";
  put(EngineParts::function("theirs"), "another uid", 1);
  refresh();
  EXPECT_EQ(rig_.parts.registry.find("theirs")->uid, FunctionUid("another uid"));
}

TEST_F(SharedFunctions, WhatAnotherNodeRemovedIsGone) {
  rig_.apply(EngineParts::function("ours"));
  ASSERT_TRUE(rig_.wait(rig_.parts.state.functions().remove("ours")));
  refresh();
  EXPECT_THAT(names(), IsEmpty());
}

TEST_F(SharedFunctions, AnUpdateBeginsFromWhatStandsAndNotFromWhatWasKnown) {
  rig_.apply(EngineParts::function("f"));
  refresh();
  auto spec = EngineParts::function("f");
  spec.script = "#!/bin/sh\necho theirs\n";
  put(spec, rig_.parts.registry.find("f")->uid.str(), 7);
  spec.script = "#!/bin/sh\necho ours\n";
  EXPECT_EQ(rig_.apply(spec)->revision, 8U);
}

TEST_F(SharedFunctions, RemovingWhatAnotherNodeAppliedJustNowWorks) {
  refresh();
  put(EngineParts::function("theirs"), "uid", 1);
  EXPECT_TRUE(rig_.wait(rig_.parts.registry.remove("theirs")));
  EXPECT_THAT(names(), IsEmpty());
}

class Awaited : public testing::Test {
 protected:
  Awaited() {
    rig_.apply(EngineParts::function("f"));
    rig_.parts.calls.call_elsewhere(awaited_);
    end_.on_notice([this](const Notice& notice) {
      heard_.push_back(notice.kind);
      if (notice.kind == Notice::Kind::run_ended) awaited_.ended(notice.run_id);
    });
    EXPECT_TRUE(rig_.wait(nodes_.join()));
  }

  void start_worker() { ASSERT_TRUE(rig_.wait(worker_.join())); }

  // What a worker does: the row, and a word about it.
  void run_elsewhere(const RunId& run_id, bool tell) {
    RunRecord record;
    record.run_id = run_id;
    record.event_id = EventId("e");
    record.function = "f";
    record.result = "from afar";
    record.placed = record.published = true;
    record.committed_at = rig_.loop.wall_now();
    ASSERT_TRUE(rig_.wait(rig_.parts.state.runs().commit(record)));
    if (!tell) return;
    LiveRun live;
    live.run_id = run_id;
    live.awaited = true;
    awaited_.run_ended(live, {});
  }
  static Event event() {
    Event event;
    event.source = "/test";
    event.source_id = "one";
    event.data = "hello";
    return event;
  }
  RunId run_id() {
    return make_run_id(rig_.parts.registry.find("f")->uid, EventId(identity_hash({"/test", "one"})), 0);
  }
  void call(std::optional<Result<RunRecord>>& answer, std::stop_token stop = {}) {
    rig_.group.spawn(keep_value(rig_.parts.calls.call("f", event(), 30s, std::move(stop)), answer));
    rig_.loop.run_for(1ms);
  }

  EngineRig rig_;
  FakeSharedState shared_{rig_.loop};
  FakeSharedState::View end_{shared_};
  FakeSharedState::View workers_end_{shared_};
  Nodes nodes_{rig_.loop, &end_, row("gate", "gateway"), [](NodeRow&) {}, {.lease = 24h}, rig_.parts.log};
  Nodes worker_{rig_.loop, &workers_end_, row("work", "worker"), [](NodeRow&) {}, {.lease = 24h}, rig_.parts.log};
  AwaitedRuns awaited_{rig_.loop, rig_.parts.state, rig_.parts.ingest, nodes_, rig_.parts.log};
  std::vector<Notice::Kind> heard_;
};

TEST_F(Awaited, WithoutAWorkerTheCallerIsToldSoAtOnce) {
  std::optional<Result<RunRecord>> answer;
  call(answer);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error().code, Errc::unavailable);
}

TEST_F(Awaited, TheRowOfTheRunElsewhereIsTheAnswerAsSoonAsItIsTold) {
  start_worker();
  std::optional<Result<RunRecord>> answer;
  call(answer);
  EXPECT_FALSE(answer);
  run_elsewhere(run_id(), true);
  rig_.loop.run_for(1ms);
  ASSERT_TRUE(answer && *answer);
  EXPECT_EQ((*answer)->result, "from afar");
}

TEST_F(Awaited, WhatIsNotToldIsFoundByLooking) {
  start_worker();
  std::optional<Result<RunRecord>> answer;
  call(answer);
  run_elsewhere(run_id(), false);
  rig_.loop.run_for(1s);
  ASSERT_TRUE(answer && *answer);
  EXPECT_EQ((*answer)->result, "from afar");
}

TEST_F(Awaited, ACallerWhoLeavesHasTheRunCancelledWhereItRuns) {
  start_worker();
  std::optional<Result<RunRecord>> answer;
  std::stop_source left;
  call(answer, left.get_token());
  left.request_stop();
  rig_.loop.run_for(1ms);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error().code, Errc::cancelled);
  EXPECT_THAT(heard_, ElementsAre(Notice::Kind::cancel));
}

TEST_F(Awaited, PatienceEnds) {
  start_worker();
  std::optional<Result<RunRecord>> answer;
  call(answer);
  rig_.loop.run_for(10min);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->error().code, Errc::deadline_exceeded);
}

TEST_F(Awaited, OnlyRunsThatSomebodyAwaitsAreTold) {
  LiveRun live;
  live.run_id = RunId("r");
  awaited_.run_ended(live, {});
  rig_.loop.run_for(1s);
  EXPECT_THAT(heard_, IsEmpty());
}

}  // namespace
}  // namespace millrace
