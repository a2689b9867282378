#include "async/one_shot.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "async/sim_event_loop.h"
#include "async/task.h"

namespace millrace {
namespace {

Task<void> take(OneShot<std::string> shot, std::string* out) {
  *out = co_await shot.wait();
}

TEST(OneShot, FirstValueStands) {
  SimEventLoop loop;
  const OneShot<std::string> shot(loop);
  EXPECT_FALSE(shot.is_set());
  EXPECT_TRUE(shot.set("first"));
  EXPECT_TRUE(shot.is_set());
  EXPECT_FALSE(shot.set("second"));
  std::string value;
  auto task = take(shot, &value);
  task.start();
  EXPECT_TRUE(task.done()) << "a value that is there needs no waiting";
  EXPECT_EQ(value, "first");
  EXPECT_FALSE(shot.set("third")) << "also after it was taken";
}

TEST(OneShot, WaiterResumesInALaterStepOfTheLoop) {
  SimEventLoop loop;
  const OneShot<std::string> shot(loop);
  std::string value;
  auto task = take(shot, &value);
  task.start();
  EXPECT_FALSE(task.done());
  EXPECT_TRUE(shot.set("x"));
  EXPECT_EQ(value, "") << "not inside set()";
  EXPECT_FALSE(shot.set("y")) << "nor does a second value overtake the first";
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(value, "x");
  EXPECT_TRUE(task.done());
}

TEST(OneShot, ADroppedWaiterIsNotWoken) {
  SimEventLoop loop;
  const OneShot<std::string> shot(loop);
  std::string value;
  {
    auto task = take(shot, &value);
    task.start();
  }
  EXPECT_TRUE(shot.set("x"));
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(value, "");
}

TEST(OneShot, AWaiterDroppedBetweenSetAndItsTurnIsNotWoken) {
  SimEventLoop loop;
  const OneShot<std::string> shot(loop);
  std::string value;
  {
    auto task = take(shot, &value);
    task.start();
    EXPECT_TRUE(shot.set("x"));
  }
  EXPECT_TRUE(loop.run_until_idle());
  EXPECT_EQ(value, "");
}

TEST(OneShot, AValueNobodyTookGoesWithTheWaiter) {
  SimEventLoop loop;
  auto resource = std::make_shared<int>(1);
  const std::weak_ptr<int> watched = resource;
  const OneShot<std::shared_ptr<int>> shot(loop);
  {
    auto task = [](OneShot<std::shared_ptr<int>> wake) -> Task<void> { co_await wake.wait(); }(shot);
    task.start();
    EXPECT_TRUE(shot.set(std::move(resource)));
  }
  EXPECT_TRUE(watched.expired()) << "not only when the loop gets to the wake-up";
  EXPECT_TRUE(shot.is_set());
  EXPECT_FALSE(shot.set(nullptr));
}

TEST(OneShot, SurvivesTheLoopForgettingItsWakeUp) {
  std::string value;
  std::optional<SimEventLoop> loop(std::in_place);
  const OneShot<std::string> shot(*loop);
  auto task = take(shot, &value);
  task.start();
  EXPECT_TRUE(shot.set("x"));
  loop.reset();
  EXPECT_FALSE(task.done());
  EXPECT_EQ(value, "");
}

}  // namespace
}  // namespace millrace
