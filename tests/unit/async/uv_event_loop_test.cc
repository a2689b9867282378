#include "async/uv_event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "async/sleep.h"
#include "async/task_group.h"
#include "core/fd.h"

namespace millrace {
namespace {

using std::chrono::milliseconds;

struct SocketPair {
  Fd a;
  Fd b;
};

SocketPair socket_pair() {
  std::array<int, 2> ends{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
  return {Fd(ends[0]), Fd(ends[1])};
}

TEST(UvEventLoop, RunsWhatIsPosted) {
  UvEventLoop loop;
  int ran = 0;
  loop.post([&ran] { ++ran; });
  loop.post([&] {
    ++ran;
    loop.post([&] {
      ++ran;
      loop.stop();
    });
  });
  EXPECT_EQ(ran, 0) << "not inside of post()";
  loop.run();
  EXPECT_EQ(ran, 3);
}

TEST(UvEventLoop, RunsWhatComesAtRestWhenNothingElseIsReady) {
  UvEventLoop loop;
  int posted = 0;
  int at_rest = 0;
  std::function<void()> chain = [&] {
    EXPECT_EQ(at_rest, 0) << "after " << posted;
    if (++posted < 10) loop.post([&] { chain(); });
  };
  loop.at_rest([&] {
    EXPECT_EQ(posted, 10);
    ++at_rest;
    loop.at_rest([&] {
      ++at_rest;
      loop.post([&] { loop.stop(); });  // what it posts still has its turn
    });
  });
  EXPECT_EQ(at_rest, 0) << "not inside of at_rest()";
  loop.post([&] { chain(); });
  loop.run();
  EXPECT_EQ(at_rest, 2);
}

TEST(UvEventLoop, ComesToRestThoughThereIsAlwaysMore) {
  UvEventLoop loop;
  std::function<void()> endless = [&] { loop.post([&] { endless(); }); };
  loop.post([&] { endless(); });
  loop.at_rest([&] { loop.stop(); });
  loop.run();
}

TEST(UvEventLoop, ThreadsPostIntoIt) {
  constexpr int kThreads = 4;
  constexpr int kPosts = 5000;
  UvEventLoop loop;
  int ran = 0;  // not atomic: callbacks run on the loop's thread only
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < kPosts; ++i) {
          loop.post([&] {
            EXPECT_TRUE(loop.on_loop_thread());
            if (++ran == kThreads * kPosts) loop.stop();
          });
        }
      });
    }
    loop.run();
  }
  EXPECT_EQ(ran, kThreads * kPosts);
}

TEST(UvEventLoop, KnowsItsThread) {
  UvEventLoop loop;
  EXPECT_TRUE(loop.on_loop_thread()) << "whoever made it, before run()";
  bool elsewhere = true;
  std::jthread([&] { elsewhere = loop.on_loop_thread(); }).join();
  EXPECT_FALSE(elsewhere);

  std::atomic<bool> inside = false;
  std::jthread runner([&] {
    loop.post([&] {
      inside = loop.on_loop_thread();
      loop.stop();
    });
    loop.run();
  });
  runner.join();
  EXPECT_TRUE(inside);
  EXPECT_FALSE(loop.on_loop_thread()) << "whoever ran it";
}

TEST(UvEventLoop, StopsFromAnyThreadAndRunsAgain) {
  UvEventLoop loop;
  for (int i = 0; i < 50; ++i) {
    std::jthread stopper([&loop] { loop.stop(); });
    loop.run();
  }
  bool ran = false;
  loop.post([&] {
    ran = true;
    loop.stop();
  });
  loop.run();
  EXPECT_TRUE(ran);
}

TEST(UvEventLoop, AStopBeforeRunCounts) {
  UvEventLoop loop;
  loop.stop();
  loop.run();  // returns at once
}

TEST(UvEventLoop, DestroysWhatWasPostedAndNeverRan) {
  auto held = std::make_shared<int>(1);
  {
    UvEventLoop loop;
    loop.post([held] { FAIL(); });
  }
  EXPECT_EQ(held.use_count(), 1);
}

TEST(UvEventLoop, TimersAreNeverEarly) {
  UvEventLoop loop;
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  constexpr int kTimers = 200;
  int fired = 0;
  std::vector<std::unique_ptr<EventLoop::Handle>> timers;
  for (int i = 0; i < kTimers; ++i) {
    const auto delay = std::chrono::microseconds(random() % 20'000);
    const auto due = loop.now() + delay;
    timers.push_back(loop.start_timer(delay, [&, due] {
      EXPECT_GE(loop.now(), due);
      if (++fired == kTimers) loop.stop();
    }));
  }
  EXPECT_EQ(fired, 0);
  loop.run();
  EXPECT_EQ(fired, kTimers);
}

TEST(UvEventLoop, TimersOfNoTimeAndOfThePastFireInTheNextTurn) {
  UvEventLoop loop;
  int fired = 0;
  const auto zero = loop.start_timer(milliseconds(0), [&fired] { ++fired; });
  const auto past = loop.start_timer(milliseconds(-50), [&fired] { ++fired; });
  const auto later = loop.start_timer(milliseconds(1), [&] {
    EXPECT_EQ(fired, 2);
    loop.stop();
  });
  EXPECT_EQ(fired, 0);
  loop.run();
  EXPECT_EQ(fired, 2);
}

TEST(UvEventLoop, ATimerThatIsDestroyedDoesNotFire) {
  UvEventLoop loop;
  auto first = loop.start_timer(milliseconds(1), [] { FAIL(); });
  auto second = loop.start_timer(milliseconds(2), [] { FAIL(); });
  const auto killer = loop.start_timer(milliseconds(0), [&] { second.reset(); });
  first.reset();
  const auto last = loop.start_timer(milliseconds(5), [&] { loop.stop(); });
  loop.run();
}

TEST(UvEventLoop, ATimerMayDestroyItself) {
  UvEventLoop loop;
  std::unique_ptr<EventLoop::Handle> timer;
  auto held = std::make_shared<int>(7);
  timer = loop.start_timer(milliseconds(0), [&timer, &loop, held] {
    timer.reset();
    EXPECT_EQ(*held, 7) << "what the callback owns lives until it returns";
    loop.stop();
  });
  loop.run();
  EXPECT_FALSE(timer);
}

TEST(UvEventLoop, ATimerFiresOnce) {
  UvEventLoop loop;
  int fired = 0;
  const auto timer = loop.start_timer(milliseconds(0), [&fired] { ++fired; });
  const auto last = loop.start_timer(milliseconds(5), [&loop] { loop.stop(); });
  loop.run();
  EXPECT_EQ(fired, 1);
}

TEST(UvEventLoop, WatchesForReadableAgainAndAgain) {
  UvEventLoop loop;
  const SocketPair pair = socket_pair();
  std::string got;
  int calls = 0;
  const auto watch = loop.watch(pair.b.get(), EventLoop::Interest::readable, [&] {
    ++calls;
    char byte = 0;
    ASSERT_EQ(::read(pair.b.get(), &byte, 1), 1);
    got += byte;
    if (got.size() == 3) loop.stop();
  });
  ASSERT_EQ(::write(pair.a.get(), "abc", 3), 3);
  loop.run();
  EXPECT_EQ(got, "abc");
  EXPECT_EQ(calls, 3) << "level-triggered: called while bytes are left";
}

TEST(UvEventLoop, TellsReadableWhenTheOtherSideHangsUp) {
  UvEventLoop loop;
  SocketPair pair = socket_pair();
  ssize_t end = -1;
  std::unique_ptr<EventLoop::Handle> watch;
  watch = loop.watch(pair.b.get(), EventLoop::Interest::readable, [&] {
    char byte = 0;
    end = ::read(pair.b.get(), &byte, 1);
    watch.reset();
    loop.stop();
  });
  pair.a.reset();
  loop.run();
  EXPECT_EQ(end, 0);
}

TEST(UvEventLoop, WatchesForWritable) {
  UvEventLoop loop;
  const SocketPair pair = socket_pair();
  std::array<char, 65536> block{};
  while (::write(pair.a.get(), block.data(), block.size()) > 0) {
  }
  bool writable = false;
  const auto watch = loop.watch(pair.a.get(), EventLoop::Interest::writable, [&] {
    writable = true;
    loop.stop();
  });
  const auto drain = loop.start_timer(milliseconds(1), [&] {
    EXPECT_FALSE(writable) << "it was full until now";
    while (::read(pair.b.get(), block.data(), block.size()) > 0) {
    }
  });
  loop.run();
  EXPECT_TRUE(writable);
}

TEST(UvEventLoop, AWatchMayDestroyItselfAndTheDescriptorBeUsedAgain) {
  UvEventLoop loop;
  const SocketPair pair = socket_pair();
  ASSERT_EQ(::write(pair.a.get(), "x", 1), 1);
  int first = 0;
  int second = 0;
  auto held = std::make_shared<int>(7);
  std::unique_ptr<EventLoop::Handle> watch;
  watch = loop.watch(pair.b.get(), EventLoop::Interest::readable, [&, held] {
    ++first;
    watch.reset();
    EXPECT_EQ(*held, 7) << "what the callback owns lives until it returns";
    watch = loop.watch(pair.b.get(), EventLoop::Interest::readable, [&] {
      ++second;
      watch.reset();
      loop.stop();
    });
  });
  loop.run();
  EXPECT_EQ(first, 1);
  EXPECT_EQ(second, 1);
}

Task<void> read_one(EventLoop* loop, int fd, std::stop_token stop, Result<void>* result, UvEventLoop* to_stop) {
  *result = co_await wait_ready(*loop, fd, EventLoop::Interest::readable, stop);
  to_stop->stop();
}

TEST(WaitReady, ReturnsWhenTheDescriptorIsReady) {
  UvEventLoop loop;
  const SocketPair pair = socket_pair();
  Result<void> result = fail(Errc::internal, "");
  TaskGroup group(loop);
  group.spawn(read_one(&loop, pair.b.get(), {}, &result, &loop));
  loop.post([&pair] { EXPECT_EQ(::write(pair.a.get(), "x", 1), 1); });
  loop.run();
  EXPECT_TRUE(result);
}

TEST(WaitReady, EndsWhenStopped) {
  UvEventLoop loop;
  const SocketPair pair = socket_pair();
  Result<void> result;
  std::stop_source stop;
  TaskGroup group(loop);
  group.spawn(read_one(&loop, pair.b.get(), stop.get_token(), &result, &loop));
  loop.post([&stop] { stop.request_stop(); });
  loop.run();
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::cancelled);
}

TEST(UvEventLoop, AGroupOfTasksRunsOnIt) {
  UvEventLoop loop;
  int finished = 0;
  TaskGroup group(loop);
  for (int i = 0; i < 20; ++i) {
    group.spawn([](EventLoop* on, int ms, int* out) -> Task<void> {
      (void)co_await sleep_for(*on, milliseconds(ms % 3));
      ++*out;
    }(&loop, i, &finished));
  }
  TaskGroup outer(loop);
  outer.spawn([](TaskGroup* inner, UvEventLoop* on) -> Task<void> {
    co_await inner->join();
    on->stop();
  }(&group, &loop));
  loop.run();
  EXPECT_EQ(finished, 20);
}

TEST(UvEventLoop, ClocksMoveForward) {
  UvEventLoop loop;
  const auto first = loop.now();
  EXPECT_LE(first, loop.now());
  EXPECT_GT(loop.wall_now().time_since_epoch(), std::chrono::hours(24 * 365 * 50));
}

}  // namespace
}  // namespace millrace
