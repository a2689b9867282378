#include "engine/nodes.h"

#include <gmock/gmock.h>

#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "async/sim_event_loop.h"
#include "async/task_group.h"
#include "tests/support/fake_shared_state.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;

class NodesTest : public testing::Test {
 protected:
  static NodeRow row(const std::string& name, const std::string& roles = "worker", const std::string& identity = {}) {
    NodeRow row;
    row.name = name;
    row.identity = identity.empty() ? name : identity;
    row.session = "session of " + row.identity;
    row.roles = roles;
    return row;
  }

  template <class T>
  T wait(Task<T> task) {
    std::optional<T> value;
    group_.spawn(keep(std::move(task), value));
    loop_.run_for(0s);
    return std::move(value.value());
  }

  SimEventLoop loop_{1};
  TaskGroup group_{loop_};
  Log log_{{.level = LogLevel::error, .format = LogFormat::text, .fd = 2}};
  FakeSharedState shared_{loop_};
  FakeSharedState::View a_end_{shared_};
  FakeSharedState::View b_end_{shared_};
  Nodes a_{loop_, &a_end_, row("a", "gateway"), [](NodeRow& me) { me.running = 7; }, {.lease = 15s}, log_};
  Nodes b_{loop_, &b_end_, row("b"), [](NodeRow&) {}, {.lease = 15s}, log_};

 private:
  template <class T>
  static Task<void> keep(Task<T> task, std::optional<T>& value) {
    T result = co_await task;
    value.emplace(std::move(result));
  }
};

TEST_F(NodesTest, AloneThisNodeIsTheOnlyOneAndTheFirst) {
  Nodes alone(loop_, nullptr, row("alone"), [](NodeRow& me) { me.running = 3; }, {}, log_);
  ASSERT_TRUE(wait(alone.join()));
  const auto all = wait(alone.all());
  ASSERT_EQ(all->size(), 1U);
  EXPECT_EQ(all->front().running, 3U);
  EXPECT_TRUE(alone.is_first());
  EXPECT_TRUE(wait(alone.living())->workers);
}

TEST_F(NodesTest, TheFirstByNameOfTheLivingClearsUpBehindTheDead) {
  ASSERT_TRUE(wait(a_.join()));
  ASSERT_TRUE(wait(b_.join()));
  EXPECT_TRUE(wait(a_.living())->first);
  EXPECT_FALSE(wait(b_.living())->first);
  std::stop_source stop;
  group_.spawn(b_.run(stop.get_token(), [] {}));
  loop_.run_for(16s);  // a says nothing any more
  const auto living = wait(b_.living());
  EXPECT_THAT(living->names, ElementsAre("b"));
  EXPECT_TRUE(living->first);
  EXPECT_TRUE(b_.is_first());
  stop.request_stop();
  loop_.run_for(0s);
}

TEST_F(NodesTest, AnotherNodeOfTheSameNameIsRefusedUntilTheFirstIsGone) {
  ASSERT_TRUE(wait(a_.join()));
  Nodes twin(loop_, &b_end_, row("a", "worker", "another directory"), [](NodeRow&) {}, {.lease = 15s}, log_);
  const auto refused = wait(twin.join());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::already_exists);
  loop_.run_for(16s);
  EXPECT_TRUE(wait(twin.join()));
}

TEST_F(NodesTest, ANodeThatWasForgottenJoinsAgain) {
  ASSERT_TRUE(wait(a_.join()));
  shared_.forget("a");
  bool displaced = false;
  std::stop_source stop;
  group_.spawn(a_.run(stop.get_token(), [&] { displaced = true; }));
  loop_.run_for(1s);
  EXPECT_FALSE(displaced);
  EXPECT_THAT(wait(b_.living())->names, ElementsAre("a"));
  stop.request_stop();
  loop_.run_for(0s);
}

TEST_F(NodesTest, ANodeWhoseNameIsAnothersByNowIsTold) {
  ASSERT_TRUE(wait(a_.join()));
  shared_.forget("a");
  Nodes heir(loop_, &b_end_, row("a", "worker", "another directory"), [](NodeRow&) {}, {.lease = 15s}, log_);
  ASSERT_TRUE(wait(heir.join()));
  bool displaced = false;
  group_.spawn(a_.run({}, [&] { displaced = true; }));
  loop_.run_for(1s);
  EXPECT_TRUE(displaced);
}

TEST_F(NodesTest, WhileTheStoreIsAwayNobodyIsTheFirstAndNobodyIsDisplaced) {
  ASSERT_TRUE(wait(a_.join()));
  bool displaced = false;
  std::stop_source stop;
  group_.spawn(a_.run(stop.get_token(), [&] { displaced = true; }));
  loop_.run_for(1s);
  EXPECT_TRUE(a_.is_first());
  a_end_.away = true;
  loop_.run_for(30s);
  EXPECT_FALSE(a_.is_first());
  EXPECT_FALSE(displaced);
  a_end_.away = false;
  loop_.run_for(10s);
  EXPECT_TRUE(a_.is_first());
  stop.request_stop();
  loop_.run_for(0s);
}

TEST(HasRole, FindsWholeNamesOnly) {
  EXPECT_TRUE(has_role("gateway,worker", "worker"));
  EXPECT_TRUE(has_role("worker", "worker"));
  EXPECT_FALSE(has_role("gateway,coworker", "worker"));
  EXPECT_FALSE(has_role("", "worker"));
}

}  // namespace
}  // namespace millrace
