#include "runtime/launched/log_capture.h"

#include <gtest/gtest.h>

#include "core/run.h"

namespace millrace::launched {
namespace {

TEST(LogCapture, KeepsTheOrderOfArrival) {
  LogCapture log(1000);
  log.append(LogStream::out, "a\n");
  log.append(LogStream::err, "b\n");
  log.append(LogStream::err, "c\n");
  log.append(LogStream::out, "d\n");
  EXPECT_EQ(log.tail(1000), "a\nb\nc\nd\n");
  EXPECT_EQ(log.total_bytes(), 8U);
}

TEST(LogCapture, IsEmptyAtFirst) {
  LogCapture log(1000);
  log.append(LogStream::out, "");
  EXPECT_EQ(log.tail(1000), "");
  EXPECT_EQ(log.total_bytes(), 0U);
}

TEST(LogCapture, KeepsEverythingAtTheLimit) {
  LogCapture log(10);
  log.append(LogStream::out, "0123456789");
  EXPECT_EQ(log.tail(1000), "0123456789");
}

TEST(LogCapture, DropsTheMiddleBeyondTheLimit) {
  LogCapture log(10);
  log.append(LogStream::out, "0123456789A");
  EXPECT_EQ(log.tail(1000), "01234\n[... 1 bytes of stdout dropped ...]\n6789A");
  EXPECT_EQ(log.total_bytes(), 11U);
}

TEST(LogCapture, KeepsTheSameHoweverTheBytesArrive) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "line " + std::to_string(i) + "\n";
  LogCapture whole(300);
  whole.append(LogStream::err, text);
  LogCapture pieces(300);
  for (const char byte : text) pieces.append(LogStream::err, std::string_view(&byte, 1));
  EXPECT_EQ(whole.tail(1000), pieces.tail(1000));
  EXPECT_NE(whole.tail(1000).find("bytes of stderr dropped"), std::string::npos);
}

TEST(LogCapture, CutsALineThatIsTooLongAndSaysSo) {
  LogCapture log(1000, 10);
  log.append(LogStream::out, "short\n0123456789\n0123456789ABC\nnext\n");
  EXPECT_EQ(log.tail(1000), "short\n0123456789\n0123456789 [... 3 bytes of stdout dropped from this line ...]\nnext\n");
  EXPECT_EQ(log.total_bytes(LogStream::out), 36U);
  EXPECT_EQ(log.total_bytes(LogStream::err), 0U);
}

TEST(LogCapture, CutsALineThatNeverEnds) {
  LogCapture log(1000, 4);
  log.append(LogStream::err, std::string(1000, 'x'));
  log.append(LogStream::err, std::string(1000, 'x'));
  EXPECT_EQ(log.tail(1000), "xxxx [... 1996 bytes of stderr dropped from this line ...]\n");
  log.append(LogStream::err, "\nend\n");
  EXPECT_EQ(log.tail(1000), "xxxx [... 1996 bytes of stderr dropped from this line ...]\nend\n");
}

TEST(LogCapture, CutsTheSameHoweverTheBytesArrive) {
  std::string text;
  for (int i = 0; i < 60; ++i) text += std::string(static_cast<std::size_t>(i), 'a') + "\n";
  LogCapture whole(100'000, 20);
  whole.append(LogStream::out, text);
  LogCapture pieces(100'000, 20);
  for (const char byte : text) pieces.append(LogStream::out, std::string_view(&byte, 1));
  EXPECT_EQ(whole.tail(100'000), pieces.tail(100'000));
}

TEST(LogCapture, GivesEachStreamItsOwnShare) {
  LogCapture log(100);
  log.append(LogStream::err, "the reason\n");
  log.append(LogStream::out, std::string(100'000, 'x'));
  const auto tail = log.tail(1000);
  EXPECT_TRUE(tail.starts_with("the reason\nxxx")) << tail;
  EXPECT_LT(tail.size(), 200U);
}

TEST(LogCapture, CutsTheBeginningWhenBothStreamsAreTooMuch) {
  LogCapture log(100);
  log.append(LogStream::out, std::string(100, 'o'));
  log.append(LogStream::err, std::string(100, 'e'));
  const auto tail = log.tail(150);
  EXPECT_EQ(tail.size(), 150U);
  EXPECT_TRUE(tail.starts_with("[... 77 bytes dropped ...]\no")) << tail;
  EXPECT_TRUE(tail.ends_with("eee"));
  EXPECT_EQ(log.tail(5), "eeeee");
}

TEST(LogCapture, KeepsOnlyTheCountAtLimitZero) {
  LogCapture log(0);
  log.append(LogStream::out, "abc");
  EXPECT_EQ(log.tail(1000), "\n[... 3 bytes of stdout dropped ...]\n");
  EXPECT_EQ(log.total_bytes(), 3U);
}

TEST(LogCapture, HoldsNoMoreThanCanBeShown) {
  LogCapture log(1ULL << 40);
  for (int i = 0; i < 100; ++i) log.append(LogStream::out, std::string(64 << 10, 'x'));
  EXPECT_LE(log.tail(10 << 20).size(), kLogTailBytesMax + 100);
}

TEST(LogCapture, IsBoundedWhenTheStreamsAlternate) {
  LogCapture log(kLogTailBytesMax);
  for (std::size_t i = 0; i < 3 * LogCapture::kPiecesMax; ++i) {
    log.append(LogStream::out, "o");
    log.append(LogStream::err, "e");
  }
  const auto tail = log.tail(kLogTailBytesMax);
  EXPECT_EQ(tail.size(), 6 * LogCapture::kPiecesMax);  // coarser order, but nothing lost
  EXPECT_TRUE(tail.starts_with("oeoeoe"));
}

}  // namespace
}  // namespace millrace::launched
