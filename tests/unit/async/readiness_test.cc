#include "async/readiness.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "async/task_group.h"
#include "async/uv_event_loop.h"
#include "core/fd.h"

namespace millrace {
namespace {

// The real loop, counting registrations.
class CountingLoop final : public EventLoop {
 public:
  TimePoint now() const override { return loop_.now(); }
  std::chrono::system_clock::time_point wall_now() const override { return loop_.wall_now(); }
  void post(Callback callback) override { loop_.post(std::move(callback)); }
  std::unique_ptr<Handle> start_timer(Duration delay, Callback callback) override {
    return loop_.start_timer(delay, std::move(callback));
  }
  std::unique_ptr<Handle> watch(int fd, Interest interest, Callback callback) override {
    ++watches;
    return loop_.watch(fd, interest, [this, callback = std::move(callback)]() mutable {
      ++calls;
      callback();
    });
  }
  bool on_loop_thread() const override { return loop_.on_loop_thread(); }

  void run() { loop_.run(); }
  void stop() { loop_.stop(); }

  int watches = 0;
  int calls = 0;

 private:
  UvEventLoop loop_;
};

class ReadinessTest : public testing::Test {
 protected:
  ReadinessTest() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) std::abort();
    ours_ = Fd(ends[0]);
    theirs_ = Fd(ends[1]);
  }

  void tell() { ASSERT_EQ(::write(theirs_.get(), "x", 1), 1); }
  bool take() {
    char byte = 0;
    return ::read(ours_.get(), &byte, 1) == 1;
  }
  // That many polls of the loop.
  void turn(int times) {
    for (int i = 0; i < times; ++i) {
      const auto timer = loop_.start_timer({}, [this] { loop_.stop(); });
      loop_.run();
    }
  }
  Result<void> wait(Readiness& readable, std::stop_token stop = {}) {
    Result<void> result = fail(Errc::internal, "never ready");
    TaskGroup group(loop_);
    group.spawn([](Readiness* on, std::stop_token token, CountingLoop* loop, Result<void>* out) -> Task<void> {
      *out = co_await on->wait(std::move(token));
      loop->stop();
    }(&readable, std::move(stop), &loop_, &result));
    loop_.run();
    return result;
  }

  CountingLoop loop_;
  Fd ours_;
  Fd theirs_;
};

TEST_F(ReadinessTest, StaysRegisteredFromOneWaitToTheNext) {
  Readiness readable(loop_, ours_.get(), EventLoop::Interest::readable);
  for (int i = 0; i < 3; ++i) {
    loop_.post([this] { tell(); });
    ASSERT_TRUE(wait(readable));
    EXPECT_TRUE(take());
    EXPECT_FALSE(take());
  }
  EXPECT_EQ(loop_.watches, 1);
  EXPECT_EQ(loop_.calls, 3);
}

TEST_F(ReadinessTest, LetsGoOfADescriptorThatNobodyWaitsFor) {
  Readiness readable(loop_, ours_.get(), EventLoop::Interest::readable);
  loop_.post([this] { tell(); });
  ASSERT_TRUE(wait(readable));
  turn(10);  // it is still readable
  EXPECT_EQ(loop_.calls, 2) << "the loop turned for nobody";
  EXPECT_TRUE(wait(readable)) << "and it is told at once when somebody asks";
  EXPECT_EQ(loop_.watches, 2);
}

TEST_F(ReadinessTest, EndsWhenStoppedAndWaitsAgain) {
  Readiness readable(loop_, ours_.get(), EventLoop::Interest::readable);
  std::stop_source stop;
  loop_.post([&stop] { stop.request_stop(); });
  const auto stopped = wait(readable, stop.get_token());
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code, Errc::cancelled);
  loop_.post([this] { tell(); });
  EXPECT_TRUE(wait(readable));
}

}  // namespace
}  // namespace millrace
