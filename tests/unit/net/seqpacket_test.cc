#include "net/seqpacket.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "async/sleep.h"
#include "async/task_group.h"
#include "tests/support/run_task.h"

namespace millrace {
namespace {

using test::run_task;

struct Ends {
  explicit Ends(UvEventLoop& loop) : Ends(loop, SeqpacketSocket::pair().value()) {}
  Ends(UvEventLoop& loop, std::pair<Fd, Fd> fds)
      : left(loop, std::move(fds.first)), right(loop, std::move(fds.second)) {}
  SeqpacketSocket left;
  SeqpacketSocket right;
};

bool same_file(int a, int b) {
  struct stat first{};
  struct stat second{};
  return ::fstat(a, &first) == 0 && ::fstat(b, &second) == 0 && first.st_ino == second.st_ino &&
         first.st_dev == second.st_dev;
}

TEST(Seqpacket, CarriesWholeMessagesInOrder) {
  UvEventLoop loop;
  Ends ends(loop);
  ASSERT_TRUE(run_task(loop, ends.left.send("one")));
  ASSERT_TRUE(run_task(loop, ends.left.send(std::string(4096, 'x'))));
  const auto first = run_task(loop, ends.right.recv({.bytes_max = 4096}));
  const auto second = run_task(loop, ends.right.recv({.bytes_max = 4096}));
  ASSERT_TRUE(first && *first && second && *second);
  EXPECT_EQ((*first)->bytes, "one");
  EXPECT_EQ((*second)->bytes, std::string(4096, 'x'));
  EXPECT_TRUE((*first)->fds.empty());
}

TEST(Seqpacket, PassesDescriptorsInOrderAndCloseOnExec) {
  UvEventLoop loop;
  Ends ends(loop);
  const Fd root(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(run_task(loop, ends.left.send("files", {root.get(), null.get()})));
  auto got = run_task(loop, ends.right.recv({.bytes_max = 16, .fds_max = 2}));
  ASSERT_TRUE(got && *got);
  ASSERT_EQ((*got)->fds.size(), 2U);
  EXPECT_TRUE(same_file((*got)->fds[0].get(), root.get()));
  EXPECT_TRUE(same_file((*got)->fds[1].get(), null.get()));
  for (const Fd& fd : (*got)->fds) EXPECT_NE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Seqpacket, PassesAsManyDescriptorsAsTheKernelAllows) {
  UvEventLoop loop;
  Ends ends(loop);
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(run_task(loop, ends.left.send("m", std::vector<int>(SeqpacketSocket::kFdsMax, null.get()))));
  const auto got = run_task(loop, ends.right.recv({.bytes_max = 16, .fds_max = SeqpacketSocket::kFdsMax}));
  ASSERT_TRUE(got && *got);
  EXPECT_EQ((*got)->fds.size(), SeqpacketSocket::kFdsMax);

  const auto refused = run_task(loop, ends.left.send("m", std::vector<int>(SeqpacketSocket::kFdsMax + 1, null.get())));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
}

TEST(Seqpacket, RefusesToSendNothingBecauseItWouldReadAsTheEnd) {
  UvEventLoop loop;
  Ends ends(loop);
  const auto sent = run_task(loop, ends.left.send(""));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::invalid_argument);
}

TEST(Seqpacket, ReportsAMessageBeyondTheLimitAndGoesOnBehindIt) {
  UvEventLoop loop;
  Ends ends(loop);
  ASSERT_TRUE(run_task(loop, ends.left.send("12345")));
  ASSERT_TRUE(run_task(loop, ends.left.send("1234")));
  const auto cut = run_task(loop, ends.right.recv({.bytes_max = 4}));
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, Errc::too_large);
  const auto fits = run_task(loop, ends.right.recv({.bytes_max = 4}));
  ASSERT_TRUE(fits && *fits);
  EXPECT_EQ((*fits)->bytes, "1234");
}

std::size_t open_fds() {
  std::size_t count = 0;
  for (int fd = 0; fd < 1024; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

TEST(Seqpacket, ClosesDescriptorsThatNobodyAskedFor) {
  UvEventLoop loop;
  Ends ends(loop);
  const Fd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const std::size_t before = open_fds();
  // One more than asked for is the case that alignment padding in the control data would let through.
  for (const std::size_t asked : {0U, 1U, 2U, 3U}) {
    ASSERT_TRUE(run_task(loop, ends.left.send("x", std::vector<int>(asked + 1, null.get()))));
    const auto cut = run_task(loop, ends.right.recv({.bytes_max = 4, .fds_max = asked}));
    ASSERT_FALSE(cut) << asked;
    EXPECT_EQ(cut.error().code, Errc::too_large);
  }
  EXPECT_EQ(open_fds(), before);
}

TEST(Seqpacket, ReportsTheEndWhenThePeerCloses) {
  UvEventLoop loop;
  auto fds = SeqpacketSocket::pair().value();
  SeqpacketSocket right(loop, std::move(fds.second));
  ASSERT_EQ(::send(fds.first.get(), "last", 4, 0), 4);
  fds.first.reset();
  const auto last = run_task(loop, right.recv({.bytes_max = 16}));
  ASSERT_TRUE(last && *last);
  EXPECT_EQ((*last)->bytes, "last");
  const auto end = run_task(loop, right.recv({.bytes_max = 16}));
  ASSERT_TRUE(end);
  EXPECT_FALSE(*end);
  const auto sent = run_task(loop, right.send("anybody?"));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::unavailable);
}

Task<void> recv_into(SeqpacketSocket& socket, Result<std::optional<SeqpacketSocket::Message>>& out,
                     std::stop_token stop) {
  out = co_await socket.recv({.bytes_max = 1 << 20}, stop);
}

Task<void> close_later(UvEventLoop& loop, Fd& fd) {
  co_await yield(loop);
  fd.reset();
}

TEST(Seqpacket, WakesAWaitingReaderWhenThePeerCloses) {
  UvEventLoop loop;
  auto fds = SeqpacketSocket::pair().value();
  SeqpacketSocket right(loop, std::move(fds.second));
  TaskGroup group(loop);
  Result<std::optional<SeqpacketSocket::Message>> got = fail(Errc::internal, "not asked");
  group.spawn(recv_into(right, got, {}));
  group.spawn(close_later(loop, fds.first));
  run_task(loop, group.join());
  ASSERT_TRUE(got);
  EXPECT_FALSE(*got);
}

TEST(Seqpacket, ReaderCanBeCancelled) {
  UvEventLoop loop;
  Ends ends(loop);
  TaskGroup group(loop);
  Result<std::optional<SeqpacketSocket::Message>> got = fail(Errc::internal, "not asked");
  group.spawn(recv_into(ends.right, got, group.stop_token()));
  group.request_stop();
  run_task(loop, group.join());
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Errc::cancelled);
}

constexpr int kFlood = 400;

Task<void> send_one(SeqpacketSocket& socket, int number, int& sent) {
  std::string bytes(8000, 'f');
  bytes.replace(0, 4, std::string(4 - std::to_string(number).size(), '0') + std::to_string(number));
  const auto done = co_await socket.send(std::move(bytes));
  if (done) ++sent;
}

Task<void> recv_all(SeqpacketSocket& socket, std::vector<int>& numbers) {
  while (numbers.size() < kFlood) {
    auto got = co_await socket.recv({.bytes_max = 8000});
    if (!got || !*got) co_return;
    numbers.push_back(std::stoi((*got)->bytes.substr(0, 4)));
  }
}

TEST(Seqpacket, SendersWaitForASlowReaderAndKeepTheirOrder) {
  UvEventLoop loop;
  Ends ends(loop);
  TaskGroup group(loop);
  int sent = 0;
  // Both directions of one socket wait at the same time.
  Result<std::optional<SeqpacketSocket::Message>> reply = fail(Errc::internal, "not asked");
  group.spawn(recv_into(ends.left, reply, {}));
  for (int i = 0; i < kFlood; ++i) group.spawn(send_one(ends.left, i, sent));
  EXPECT_LT(sent, kFlood);  // 3.2 MB do not fit into a socket's buffer
  std::vector<int> numbers;
  group.spawn(recv_all(ends.right, numbers));
  int replied = 0;
  group.spawn(send_one(ends.right, 1, replied));
  run_task(loop, group.join());
  EXPECT_EQ(sent, kFlood);
  ASSERT_EQ(numbers.size(), static_cast<std::size_t>(kFlood));
  for (int i = 0; i < kFlood; ++i) EXPECT_EQ(numbers[static_cast<std::size_t>(i)], i);
  EXPECT_TRUE(reply && *reply);
}

TEST(Seqpacket, ReportsAMessageThatNeverFits) {
  UvEventLoop loop;
  Ends ends(loop);
  const auto sent = run_task(loop, ends.left.send(std::string(64 << 20, 'x')));
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, Errc::too_large);
}

}  // namespace
}  // namespace millrace
