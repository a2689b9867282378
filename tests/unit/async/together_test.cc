#include "async/together.h"

#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "async/sim_event_loop.h"
#include "async/sleep.h"
#include "core/error.h"

namespace millrace {
namespace {

using std::chrono::seconds;

Task<Result<std::string>> say(EventLoop* loop, std::string word, EventLoop::Duration after, std::string* order) {
  *order += "(" + word;
  (void)co_await sleep_for(*loop, after);
  *order += ")" + word;
  if (word == "bad") co_return fail(Errc::internal, "bad");
  co_return word;
}

Task<std::unique_ptr<int>> at_once() {
  co_return std::make_unique<int>(7);
}

using Answers = std::tuple<Result<std::string>, Result<std::string>, std::unique_ptr<int>>;

Task<void> ask(EventLoop* loop, std::string first, std::string* order, std::optional<Answers>* answers) {
  auto all =
      co_await together(*loop, say(loop, first, seconds(3), order), say(loop, "b", seconds(1), order), at_once());
  answers->emplace(std::move(all));
}

TEST(Together, StartsInOrderAndAnswersWhenAllHaveEnded) {
  SimEventLoop loop;
  std::string order;
  std::optional<Answers> answers;
  auto task = ask(&loop, "a", &order, &answers);
  task.start();
  EXPECT_EQ(order, "(a(b");
  loop.run_for(seconds(2));
  EXPECT_EQ(order, "(a(b)b");
  EXPECT_FALSE(answers);
  loop.run_for(seconds(1));
  ASSERT_TRUE(answers);
  EXPECT_EQ(std::get<0>(*answers), "a");
  EXPECT_EQ(std::get<1>(*answers), "b");
  EXPECT_EQ(*std::get<2>(*answers), 7);
}

TEST(Together, OneThatFailsEndsNoneOfTheOthers) {
  SimEventLoop loop;
  std::string order;
  std::optional<Answers> answers;
  auto task = ask(&loop, "bad", &order, &answers);
  task.start();
  loop.run_for(seconds(3));
  ASSERT_TRUE(answers);
  EXPECT_FALSE(std::get<0>(*answers));
  EXPECT_EQ(std::get<1>(*answers), "b");
}

TEST(Together, DropsAllThatStillRun) {
  SimEventLoop loop;
  std::string order;
  std::optional<Answers> answers;
  {
    auto task = ask(&loop, "a", &order, &answers);
    task.start();
  }
  loop.run_for(seconds(9));
  EXPECT_EQ(order, "(a(b");
  EXPECT_FALSE(answers);
}

}  // namespace
}  // namespace millrace
