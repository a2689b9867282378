#include "runtime/launcher/channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <vector>

#include "runtime/launcher/protocol.h"

namespace millrace::launcher {
namespace {

class Channel : public ::testing::Test {
 protected:
  void SetUp() override {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()), 0);
    left_ = Fd(ends[0]);
    right_ = Fd(ends[1]);
  }
  Fd left_;
  Fd right_;
  Datagram got_;
};

TEST_F(Channel, MovesBytesAndDescriptorsInOrder) {
  std::array<int, 2> ends{};
  ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
  const Fd reading(ends[0]);
  const Fd writing(ends[1]);
  EXPECT_EQ(send(left_.get(), "hello", std::array{reading.get(), writing.get()}), Transfer::done);
  ASSERT_EQ(receive(right_.get(), got_), Transfer::done);
  EXPECT_EQ(got_.bytes, "hello");
  ASSERT_EQ(got_.descriptors.size(), 2U);
  EXPECT_EQ(::write(got_.descriptors[1].get(), "x", 1), 1);
  char byte = 0;
  EXPECT_EQ(::read(reading.get(), &byte, 1), 1);
  EXPECT_EQ(::fcntl(got_.descriptors[0].get(), F_GETFD), FD_CLOEXEC);
}

TEST_F(Channel, KeepsDatagramsApartAndNeverWaits) {
  EXPECT_EQ(receive(right_.get(), got_), Transfer::would_block);
  EXPECT_EQ(send(left_.get(), "one"), Transfer::done);
  EXPECT_EQ(send(left_.get(), "two"), Transfer::done);
  EXPECT_EQ(receive(right_.get(), got_), Transfer::done);
  EXPECT_EQ(got_.bytes, "one");
  EXPECT_EQ(receive(right_.get(), got_), Transfer::done);
  EXPECT_EQ(got_.bytes, "two");
  Transfer sent = Transfer::done;
  for (int i = 0; i < 10'000 && sent == Transfer::done; ++i) sent = send(left_.get(), std::string(10'000, 'x'));
  EXPECT_EQ(sent, Transfer::would_block);
}

TEST_F(Channel, SeesTheEnd) {
  EXPECT_EQ(send(left_.get(), "last"), Transfer::done);
  left_.reset();
  EXPECT_EQ(receive(right_.get(), got_), Transfer::done);
  EXPECT_EQ(receive(right_.get(), got_), Transfer::closed);
  EXPECT_EQ(send(right_.get(), "x"), Transfer::closed);
}

TEST_F(Channel, BoundsDatagrams) {
  EXPECT_EQ(send(left_.get(), std::string(kDatagramBytesMax, 'x')), Transfer::done);
  EXPECT_EQ(receive(right_.get(), got_), Transfer::done);
  EXPECT_EQ(got_.bytes.size(), kDatagramBytesMax);
  EXPECT_EQ(send(left_.get(), std::string(kDatagramBytesMax + 1, 'x')), Transfer::refused);
  EXPECT_EQ(send(left_.get(), ""), Transfer::refused);
  const std::string oversized(kDatagramBytesMax + 1, 'x');
  ASSERT_EQ(::send(left_.get(), oversized.data(), oversized.size(), 0), static_cast<ssize_t>(oversized.size()));
  EXPECT_EQ(receive(right_.get(), got_), Transfer::refused);
}

TEST_F(Channel, ClosesSurplusDescriptorsOfARefusedDatagram) {
  const std::vector<int> many(200, left_.get());
  std::vector<char> control(CMSG_SPACE(sizeof(int) * many.size()));
  char byte = 'x';
  iovec part{.iov_base = &byte, .iov_len = 1};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int) * many.size());
  std::copy(many.begin(), many.end(), reinterpret_cast<int*>(CMSG_DATA(rights)));
  ASSERT_EQ(::sendmsg(left_.get(), &message, 0), 1);
  const int before = ::dup(left_.get());
  ::close(before);
  EXPECT_EQ(receive(right_.get(), got_), Transfer::refused);
  got_.descriptors.clear();
  const int after = ::dup(left_.get());
  ::close(after);
  EXPECT_EQ(before, after);
}

TEST(SealedMemfd, IsReadBackWhole) {
  const std::string bytes(100'000, 'b');
  const auto fd = sealed_memfd(bytes);
  ASSERT_TRUE(fd);
  EXPECT_EQ(read_sealed_memfd(fd->get(), bytes.size()).value_or(""), bytes);
  EXPECT_EQ(read_sealed_memfd(fd->get(), bytes.size() - 1).error().code, Errc::too_large);
  EXPECT_EQ(::write(fd->get(), "x", 1), -1);
}

TEST(SealedMemfd, RefusesWhatSomebodyCouldStillChange) {
  const Fd unsealed(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_FALSE(read_sealed_memfd(unsealed.get(), 100));
  ASSERT_EQ(::fcntl(unsealed.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW), 0);
  EXPECT_FALSE(read_sealed_memfd(unsealed.get(), 100));
  const Fd device(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(read_sealed_memfd(device.get(), 100));
}

}  // namespace
}  // namespace millrace::launcher
