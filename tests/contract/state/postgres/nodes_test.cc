// Several daemons on one database: who is there, what they tell one another, and what one of them must not do to
// another.
#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/sleep.h"
#include "async/task_group.h"
#include "tests/contract/state/backends.h"
#include "tests/contract/state/postgres/stores.h"

namespace millrace::test {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using testing::HasSubstr;

class PostgresNodes : public PostgresServerTest {
 public:
  ~PostgresNodes() override {
    close(*one_);
    close(*other_);
  }

 protected:
  PostgresNodes() : one_(node(options(url_))), other_(node(options(url_))) {
    one().on_notice([this](const Notice& notice) { heard_.push_back(notice); });
    other().on_notice([this](const Notice& notice) { other_heard_.push_back(notice); });
    until([this] { return heard(heard_, Notice::Kind::again) > 0 && heard(other_heard_, Notice::Kind::again) > 0; });
  }

  SharedState& one() { return *one_->state->shared(); }
  SharedState& other() { return *other_->state->shared(); }

  static NodeRow row(const std::string& name, const std::string& identity = {}, const std::string& broker = "nats:m") {
    NodeRow row;
    row.name = name;
    row.identity = identity.empty() ? "directory of " + name : identity;
    row.session = "a life of " + row.identity;
    row.broker = broker;
    row.roles = "worker";
    row.version = "1.2.3";
    row.address = "127.0.0.1:1";
    row.started_at = at(5);
    row.running = 3;
    row.memory_bytes = 1 << 30;
    row.memory_free_bytes = 1 << 20;
    row.cpu_millicores = 4000;
    row.cpu_free_millicores = 1500;
    return row;
  }
  std::vector<std::string> names() {
    std::vector<std::string> names;
    const auto nodes = run(one().nodes());
    EXPECT_TRUE(nodes);
    for (const auto& node : *nodes) names.push_back(node.name + (node.alive ? "" : " gone"));
    return names;
  }
  static int heard(const std::vector<Notice>& notices, Notice::Kind kind, const std::string& run_id = {}) {
    return static_cast<int>(std::ranges::count_if(
        notices, [&](const Notice& notice) { return notice.kind == kind && notice.run_id == RunId(run_id); }));
  }
  static Task<void> look(EventLoop& loop, std::function<bool()> condition) {
    for (int times = 0; times < 3'000 && !condition(); ++times) co_await sleep_for(loop, 10ms);
  }
  void until(std::function<bool()> condition) {
    run(look(loop_, condition));
    ASSERT_TRUE(condition()) << "waited in vain";
  }

  std::unique_ptr<Node> one_;
  std::unique_ptr<Node> other_;
  std::vector<Notice> heard_;
  std::vector<Notice> other_heard_;
};

TEST_F(PostgresNodes, EverythingThatIsToldOfANodeIsKept) {
  ASSERT_TRUE(run(one().join(row("a"), 10s)));
  const auto nodes = run(other().nodes());
  ASSERT_TRUE(nodes);
  ASSERT_EQ(nodes->size(), 1U);
  const NodeRow& node = nodes->front();
  const NodeRow told = row("a");
  EXPECT_EQ(node.name, told.name);
  EXPECT_EQ(node.identity, told.identity);
  EXPECT_EQ(node.session, told.session);
  EXPECT_EQ(node.broker, told.broker);
  EXPECT_EQ(node.roles, told.roles);
  EXPECT_EQ(node.version, told.version);
  EXPECT_EQ(node.address, told.address);
  EXPECT_EQ(node.started_at, told.started_at);
  EXPECT_EQ(node.running, told.running);
  EXPECT_EQ(node.memory_bytes, told.memory_bytes);
  EXPECT_EQ(node.memory_free_bytes, told.memory_free_bytes);
  EXPECT_EQ(node.cpu_millicores, told.cpu_millicores);
  EXPECT_EQ(node.cpu_free_millicores, told.cpu_free_millicores);
  EXPECT_TRUE(node.alive);
}

TEST_F(PostgresNodes, ANameIsOneNodesUntilItsLeaseHasRunOut) {
  ASSERT_TRUE(run(one().join(row("a"), 1s)));
  const auto refused = run(other().join(row("a", "another directory"), 10s));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::already_exists);
  EXPECT_THAT(refused.error().message, HasSubstr("--node"));
  until([this] { return names() == std::vector<std::string>{"a gone"}; });
  EXPECT_TRUE(run(other().join(row("a", "another directory"), 10s)));
  const auto displaced = run(one().beat(row("a"), 10s));
  ASSERT_FALSE(displaced);
  EXPECT_EQ(displaced.error().code, Errc::aborted);
}

TEST_F(PostgresNodes, TheNextLifeOfANodeNeedNotWaitAlsoUnderAnotherName) {
  ASSERT_TRUE(run(one().join(row("a"), 1h)));
  ASSERT_TRUE(run(one().join(row("a"), 1h)));
  ASSERT_TRUE(run(one().join(row("renamed", "directory of a"), 1h)));
  EXPECT_THAT(names(), ElementsAre("renamed"));
}

TEST_F(PostgresNodes, ABeatRenewsTheLeaseAndLeavingEndsIt) {
  ASSERT_TRUE(run(one().join(row("a"), 1s)));
  NodeRow later = row("a");
  later.running = 9;
  ASSERT_TRUE(run(one().beat(later, 1h)));
  ASSERT_TRUE(run(other().join(row("b"), 1s)));
  until([this] { return names() == std::vector<std::string>{"a", "b gone"}; });
  EXPECT_EQ(run(one().nodes())->front().running, 9U);
  ASSERT_TRUE(run(one().leave(row("a"))));
  ASSERT_TRUE(run(one().leave(row("a"))));
  EXPECT_THAT(names(), ElementsAre("b gone"));
}

TEST_F(PostgresNodes, OnlyNodesWithTheSameBrokerShareAStore) {
  ASSERT_TRUE(run(one().join(row("a"), 1h)));
  for (const char* broker : {"nats:other", NodeRow::kAlone}) {
    const auto refused = run(other().join(row("b", {}, broker), 1h));
    ASSERT_FALSE(refused) << broker;
    EXPECT_EQ(refused.error().code, Errc::failed_precondition);
    EXPECT_THAT(refused.error().message, HasSubstr("node 'a'"));
  }
  ASSERT_TRUE(run(one().leave(row("a"))));
  ASSERT_TRUE(run(one().join(row("a", {}, NodeRow::kAlone), 1h)));
  EXPECT_FALSE(run(other().join(row("b", {}, NodeRow::kAlone), 1h)));
}

TEST_F(PostgresNodes, EveryNodeHearsWhatOneTells) {
  ASSERT_TRUE(run(one().announce({.kind = Notice::Kind::run_ended, .run_id = RunId("r")})));
  ASSERT_TRUE(run(other().announce({.kind = Notice::Kind::cancel, .run_id = RunId("s")})));
  until([this] {
    return heard(heard_, Notice::Kind::run_ended, "r") == 1 && heard(heard_, Notice::Kind::cancel, "s") == 1 &&
           heard(other_heard_, Notice::Kind::run_ended, "r") == 1 &&
           heard(other_heard_, Notice::Kind::cancel, "s") == 1;
  });
}

TEST_F(PostgresNodes, FunctionsThatChangeAreTold) {
  FunctionSpec function;
  function.name = "f";
  function.revision = 1;
  ASSERT_TRUE(run(one_->state->functions().put(function)));
  until([this] { return heard(other_heard_, Notice::Kind::functions) == 1; });
  ASSERT_TRUE(run(one_->state->functions().remove("f")));
  until([this] { return heard(other_heard_, Notice::Kind::functions) == 2; });
  ASSERT_FALSE(run(one_->state->functions().remove("f")));
  ASSERT_TRUE(run(one().announce({.kind = Notice::Kind::run_ended, .run_id = RunId("r")})));
  until([this] { return heard(other_heard_, Notice::Kind::run_ended, "r") == 1; });
  EXPECT_EQ(heard(other_heard_, Notice::Kind::functions), 2) << "nothing was removed the second time";
}

TEST_F(PostgresNodes, OfTwoChangesFromTheSameRevisionOneIsRefused) {
  FunctionSpec function;
  function.name = "f";
  function.revision = 4;
  ASSERT_TRUE(run(one_->state->functions().put(function)));
  const auto refused = run(other_->state->functions().put(function));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::aborted);
  function.revision = 5;
  EXPECT_TRUE(run(other_->state->functions().put(function)));
}

TEST_F(PostgresNodes, AfterAReconnectEverythingIsToBeLookedAtAgain) {
  const int before = heard(heard_, Notice::Kind::again);
  restart();
  until(
      [&] { return heard(heard_, Notice::Kind::again) > before && heard(other_heard_, Notice::Kind::again) > before; });
  until([this] { return run(one().announce({.kind = Notice::Kind::run_ended, .run_id = RunId("r")})).has_value(); });
  until([this] { return heard(other_heard_, Notice::Kind::run_ended, "r") > 0; });
}

Task<void> commit_late(RunStore& runs, std::string number, int& committed, int& refused) {
  RunRecord late = record("r" + number);
  late.token = AttemptToken("t" + number);
  const auto done = co_await runs.commit(std::move(late));
  if (done && done->won) ++committed;
  if (!done && done.error().code == Errc::aborted) ++refused;
}

Task<void> abandon(RunStore& runs, std::string number, int& abandoned) {
  const auto done = co_await runs.abandon_attempt(ended(attempt("r" + number, "t" + number), AttemptOutcome::lost));
  if (done && *done) ++abandoned;
}

TEST_F(PostgresNodes, ACommitAndASweeperNeverBothGetAnAttempt) {
  constexpr int kRuns = 300;
  for (int i = 0; i < kRuns; ++i) {
    ASSERT_TRUE(run(one_->state->runs().begin_attempt(attempt("r" + std::to_string(i), "t" + std::to_string(i)))));
  }
  int committed = 0;
  int refused = 0;
  int abandoned = 0;
  TaskGroup group(loop_);
  for (int i = 0; i < kRuns; ++i) {
    group.spawn(commit_late(one_->state->runs(), std::to_string(i), committed, refused));
    const int j = kRuns - 1 - i;
    group.spawn(abandon(other_->state->runs(), std::to_string(j), abandoned));
  }
  run(group.join());
  EXPECT_EQ(committed + refused, kRuns);
  EXPECT_EQ(refused, abandoned);
  const auto stale = run(one_->state->runs().stale_directories(kRunListMax));
  ASSERT_TRUE(stale);
  EXPECT_EQ(stale->size(), static_cast<std::size_t>(abandoned)) << "a row's directory is not to be removed";
}

}  // namespace
}  // namespace millrace::test
