#include "app/life_line.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <optional>

#include "app/life_line_messages.h"
#include "async/sleep.h"
#include "async/uv_event_loop.h"
#include "runtime/launcher/protocol.h"
#include "tests/support/run_task.h"

namespace millrace {
namespace {

using namespace std::chrono_literals;

TEST(LifeLineMessages, SurviveTheJourney) {
  const auto message = decode_life_line(encode(LifeLineMessage{.kind = 'L', .number = 18446744073709551615U}));
  ASSERT_TRUE(message);
  EXPECT_EQ(message->kind, 'L');
  EXPECT_EQ(message->number, 18446744073709551615U);
}

TEST(LifeLineMessages, RefuseNonsense) {
  for (const std::string nonsense :
       {"", "L", "Lx", "L1x", "L-1", "L 1", "L18446744073709551616", "L00000000000000000000000000000000000000001"}) {
    EXPECT_FALSE(decode_life_line(nonsense)) << nonsense;
  }
}

class LifeLineTest : public testing::Test {
 public:
  LifeLineTest() {
    auto ends = SeqpacketSocket::pair();
    supervisor_.emplace(loop_, std::move(ends->first));
    life_line_.emplace(loop_, log_, std::move(ends->second), client_, [this] { gone_ = true; });
  }

  // The supervisor passes a launcher on; what it keeps is the launcher's end.
  Task<SeqpacketSocket*> pass_launcher(std::uint64_t number) {
    auto ends = SeqpacketSocket::pair();
    const auto sent = co_await supervisor_->send(encode({.kind = 'L', .number = number}), {ends->second.get()});
    EXPECT_TRUE(sent);
    launcher_.emplace(loop_, std::move(ends->first));
    auto hello = launcher::encode(launcher::Answer(launcher::Hello{}));
    const auto said = co_await launcher_->send(std::move(*hello));
    EXPECT_TRUE(said);
    co_return &*launcher_;
  }

  Task<std::string> heard() {
    auto message = co_await supervisor_->recv({.bytes_max = 100});
    co_return message && *message ? (*message)->bytes : "";
  }

  UvEventLoop loop_;
  Log log_{{.level = LogLevel::error}};
  launched::LauncherClient client_{loop_, log_, {}};
  bool gone_ = false;
  std::optional<SeqpacketSocket> supervisor_;
  std::optional<SeqpacketSocket> launcher_;
  std::optional<LifeLine> life_line_;
};

TEST_F(LifeLineTest, BringsLaunchersToTheClientAndAsksForOthers) {
  struct Scenario {
    static Task<void> run(LifeLineTest& test) {
      co_await test.pass_launcher(7);
      const auto hello = co_await test.client_.wait_hello();
      EXPECT_TRUE(hello);
      test.launcher_.reset();
      const auto lost = co_await test.heard();
      EXPECT_EQ(lost, "n7");
      co_await test.pass_launcher(8);
      const auto again = co_await test.client_.wait_hello();
      EXPECT_TRUE(again);
      test.client_.give_up("it does not answer");
      const auto stuck = co_await test.heard();
      EXPECT_EQ(stuck, "k8");
      EXPECT_FALSE(test.gone_);
    }
  };
  test::run_task(loop_, Scenario::run(*this));
}

TEST_F(LifeLineTest, TellsThatTheSupervisorIsGone) {
  struct Scenario {
    static Task<void> run(LifeLineTest& test) {
      test.supervisor_.reset();
      while (!test.gone_) co_await sleep_for(test.loop_, 1ms);
    }
  };
  test::run_task(loop_, Scenario::run(*this));
}

TEST_F(LifeLineTest, LeavesASupervisorThatTalksNonsense) {
  struct Scenario {
    static Task<void> run(LifeLineTest& test) {
      const auto sent = co_await test.supervisor_->send("L1");  // without the descriptor
      EXPECT_TRUE(sent);
      while (!test.gone_) co_await sleep_for(test.loop_, 1ms);
    }
  };
  test::run_task(loop_, Scenario::run(*this));
}

}  // namespace
}  // namespace millrace
