#include "telemetry/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <thread>
#include <vector>

#include "core/fd.h"

namespace millrace {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;
using testing::StartsWith;

// Collects what is written to one end of a pipe.
class Capture {
 public:
  Capture() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    read_end_ = Fd(ends[0]);
    write_end_ = Fd(ends[1]);
    EXPECT_GT(::fcntl(ends[1], F_SETPIPE_SZ, 1 << 20), 0);
    EXPECT_EQ(::fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
  }

  [[nodiscard]] int fd() const { return write_end_.get(); }
  void close_reader() { read_end_.reset(); }

  // Until nothing more fits. Writing to it waits as ever.
  void fill() const {
    ASSERT_EQ(::fcntl(fd(), F_SETFL, O_NONBLOCK), 0);
    std::array<char, 4096> filler{};
    while (::write(fd(), filler.data(), filler.size()) > 0) {
    }
    ASSERT_EQ(::fcntl(fd(), F_SETFL, 0), 0);
  }

  std::string take() {
    std::string text;
    std::array<char, 4096> buffer{};
    for (;;) {
      const ssize_t n = ::read(read_end_.get(), buffer.data(), buffer.size());
      if (n <= 0) return text;
      text.append(buffer.data(), static_cast<std::size_t>(n));
    }
  }

 private:
  Fd read_end_;
  Fd write_end_;
};

// What stands behind "<time> INFO  " in a line of text, without its end.
std::string text_of(std::string_view message, Log::Fields fields = {}) {
  Capture capture;
  Log log({.level = LogLevel::info, .format = LogFormat::text, .fd = capture.fd()});
  log.info(message, fields);
  const std::string line = capture.take();
  constexpr std::size_t kHead = std::string_view("2026-11-21T08:15:00.123Z INFO  ").size();
  EXPECT_GT(line.size(), kHead);
  EXPECT_THAT(line, EndsWith("\n"));
  return line.substr(kHead, line.size() - kHead - 1);
}

std::string json_of(std::string_view message, Log::Fields fields = {}) {
  Capture capture;
  Log log({.level = LogLevel::info, .format = LogFormat::json, .fd = capture.fd()});
  log.info(message, fields);
  const std::string line = capture.take();
  const auto at = line.find(R"("message":)");
  EXPECT_NE(at, std::string::npos) << line;
  return line.substr(at);
}

TEST(Log, TextStartsWithTimeAndLevel) {
  Capture capture;
  Log log({.level = LogLevel::debug, .format = LogFormat::text, .fd = capture.fd()});
  const std::string time = R"([0-9]+-[0-9]+-[0-9]+T[0-9]+:[0-9]+:[0-9]+[.][0-9][0-9][0-9]Z )";
  log.debug("a");
  EXPECT_THAT(capture.take(), MatchesRegex(time + "DEBUG a\n"));
  log.info("b");
  EXPECT_THAT(capture.take(), MatchesRegex(time + "INFO  b\n"));
  log.warn("c");
  EXPECT_THAT(capture.take(), MatchesRegex(time + "WARN  c\n"));
  log.error("d");
  EXPECT_THAT(capture.take(), MatchesRegex(time + "ERROR d\n"));
}

TEST(Log, JsonIsOneObjectALine) {
  Capture capture;
  Log log({.level = LogLevel::info, .format = LogFormat::json, .fd = capture.fd()});
  log.error("it broke", {{"function", "thumbs"}, {"revision", 3U}, {"warm", true}});
  EXPECT_THAT(capture.take(),
              MatchesRegex(R"(\{"time":"[^"]+Z","level":"error","message":"it broke","function":"thumbs",)"
                           R"("revision":3,"warm":true\})"
                           "\n"));
}

TEST(Log, TextHasFieldsAsKeyValue) {
  EXPECT_EQ(text_of("applied", {{"function", "thumbs"}, {"revision", 3U}, {"delta", -1}, {"warm", false}}),
            "applied function=thumbs revision=3 delta=-1 warm=false");
}

TEST(Log, TextQuotesValuesThatNeedIt) {
  EXPECT_EQ(text_of("m", {{"a", ""}}), R"(m a="")");
  EXPECT_EQ(text_of("m", {{"a", "two words"}}), R"(m a="two words")");
  EXPECT_EQ(text_of("m", {{"a", "x=y"}}), R"(m a="x=y")");
  EXPECT_EQ(text_of("m", {{"a", "say \"hi\" \\"}}), R"(m a="say \"hi\" \\")");
  EXPECT_EQ(text_of("m", {{"a", "k\xc3\xbc\xc3\xa7"}}), "m a=\"k\xc3\xbc\xc3\xa7\"");
}

TEST(Log, NoControlCharacterReachesTheTerminal) {
  EXPECT_EQ(text_of("a\nb\x1b[31mc\r\x7f"), R"(a\nb\x1b[31mc\x0d\x7f)");
  EXPECT_EQ(text_of("m", {{"a", std::string("\0\t\n\x1b", 4)}}), R"(m a="\x00\t\n\x1b")");
  EXPECT_EQ(text_of("m", {{"a",
                           "\xc2\x9b"
                           "31m"}}),
            R"(m a="\x9b31m")")
      << "U+009B starts an escape sequence too";
  EXPECT_EQ(text_of("m", {{"a", "\xff\xc3"}}), R"(m a="\xff\xc3")");
}

TEST(Log, JsonEscapesWhatJsonForbids) {
  EXPECT_EQ(json_of("a\"b\\\n\x01", {{"k", "\xff"}}), "\"message\":\"a\\\"b\\\\\\n\\u0001\",\"k\":\"\xef\xbf\xbd\"}\n");
}

TEST(Log, TellsErrorsByCodeAndMessage) {
  const Error error{.code = Errc::not_found, .message = "bucket 'a' does not exist"};
  EXPECT_EQ(text_of("m", {{"error", error}}), R"(m error="not_found: bucket 'a' does not exist")");
}

TEST(Log, LeavesOutWhatIsBelowItsLevel) {
  Capture capture;
  Log log({.level = LogLevel::warn, .format = LogFormat::text, .fd = capture.fd()});
  log.debug("debug");
  log.info("info");
  EXPECT_EQ(capture.take(), "");
  log.warn("warn");
  log.error("error");
  const std::string text = capture.take();
  EXPECT_THAT(text, HasSubstr("WARN  warn\n"));
  EXPECT_THAT(text, HasSubstr("ERROR error\n"));
  EXPECT_FALSE(log.enabled(LogLevel::debug));
  EXPECT_FALSE(log.enabled(LogLevel::info));
  EXPECT_TRUE(log.enabled(LogLevel::warn));
  EXPECT_TRUE(log.enabled(LogLevel::error));
}

TEST(Log, CutsLongValues) {
  const std::string longest(kLogValueBytesMax, 'x');
  EXPECT_EQ(text_of(longest), longest);
  EXPECT_EQ(text_of(longest + "x"), longest);
  EXPECT_EQ(text_of("m", {{"a", longest + "x"}}), "m a=" + longest);
  EXPECT_EQ(json_of("m", {{"a", longest + "x"}}), R"("message":"m","a":")" + longest + "\"}\n");
}

TEST(Log, HasNoColoursOutsideATerminal) {
  ASSERT_EQ(::unsetenv("NO_COLOR"), 0);
  Capture capture;
  Log log({.level = LogLevel::info, .format = LogFormat::text, .fd = capture.fd()});
  log.error("m");
  EXPECT_THAT(capture.take(), Not(HasSubstr("\x1b")));
}

// The master and slave side of a new terminal.
struct Terminal {
  Fd master{::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
  Fd slave;

  Terminal() {
    if (::grantpt(master.get()) != 0 || ::unlockpt(master.get()) != 0) return;
    std::array<char, 128> name{};
    if (::ptsname_r(master.get(), name.data(), name.size()) == 0) {
      slave = Fd(::open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    }
  }

  [[nodiscard]] std::string take() const {
    std::array<char, 4096> buffer{};
    const ssize_t n = ::read(master.get(), buffer.data(), buffer.size());
    return n > 0 ? std::string(buffer.data(), static_cast<std::size_t>(n)) : std::string();
  }
};

TEST(Log, ColoursATerminalUnlessNoColorIsSet) {
  const Terminal terminal;
  if (!terminal.slave) GTEST_SKIP() << "no pseudo terminal here";
  ASSERT_EQ(::unsetenv("NO_COLOR"), 0);
  Log(Log::Options{.fd = terminal.slave.get()}).error("m");
  EXPECT_THAT(terminal.take(), HasSubstr("\x1b[31mERROR\x1b[0m m"));

  ASSERT_EQ(::setenv("NO_COLOR", "", 1), 0);
  Log(Log::Options{.fd = terminal.slave.get()}).error("m");
  EXPECT_THAT(terminal.take(), HasSubstr("\x1b[31mERROR")) << "an empty NO_COLOR counts as unset";

  ASSERT_EQ(::setenv("NO_COLOR", "1", 1), 0);
  Log(Log::Options{.fd = terminal.slave.get()}).error("m");
  const std::string plain = terminal.take();
  EXPECT_THAT(plain, HasSubstr("ERROR m"));
  EXPECT_THAT(plain, Not(HasSubstr("\x1b")));

  ASSERT_EQ(::unsetenv("NO_COLOR"), 0);
  Log(Log::Options{.format = LogFormat::json, .fd = terminal.slave.get()}).error("m");
  EXPECT_THAT(terminal.take(), StartsWith("{")) << "JSON lines are for programs";
}

TEST(Log, LosesALineRatherThanWaitingForAFullPipe) {
  Capture capture;
  capture.fill();
  Log log({.fd = capture.fd()});
  log.info("lost");
  log.info("lost");
  EXPECT_THAT(capture.take(), Not(HasSubstr("lost")));
  log.info("kept");
  EXPECT_THAT(capture.take(), MatchesRegex("2[^\n]+ WARN  [^\n]*missing here[^\n]* lines=2\n2[^\n]+ INFO  kept\n"));
  log.info("kept as well");
  EXPECT_THAT(capture.take(), MatchesRegex("2[^\n]+ INFO  kept as well\n"));
}

TEST(Log, TellsOfLostLinesInJsonAsWell) {
  Capture capture;
  capture.fill();
  Log log({.format = LogFormat::json, .fd = capture.fd()});
  log.info("lost");
  static_cast<void>(capture.take());
  log.info("kept");
  EXPECT_THAT(capture.take(), MatchesRegex("\\{[^\n]*\"lines\":1\\}\n\\{[^\n]*\"kept\"\\}\n"));
}

TEST(Log, EndsALineThatFilledThePipeInTheMiddle) {
  Capture capture;
  ASSERT_EQ(::fcntl(capture.fd(), F_SETPIPE_SZ, 4096), 4096);
  Log log({.fd = capture.fd()});
  log.info(std::string(6000, 'x'));
  EXPECT_THAT(capture.take(), EndsWith("xxx"));
  log.info("kept");
  EXPECT_THAT(capture.take(), MatchesRegex("\n2[^\n]+ lines=1\n2[^\n]+ INFO  kept\n"));
}

TEST(Log, SurvivesADescriptorThatCannotBeWritten) {
  Log log({.fd = -1});
  log.info("nowhere");
  const Fd read_only(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  Log(Log::Options{.fd = read_only.get()}).info("nowhere");
}

TEST(Log, LinesOfSeveralThreadsAreWhole) {
  constexpr int kThreads = 4;
  constexpr int kLines = 200;
  Capture capture;
  Log log({.fd = capture.fd()});
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&log, t] {
        for (int i = 0; i < kLines; ++i) log.info("line", {{"thread", t}, {"i", i}, {"end", "end"}});
      });
    }
  }
  std::string text = capture.take();
  int lines = 0;
  for (std::size_t end = 0; (end = text.find('\n')) != std::string::npos; text.erase(0, end + 1), ++lines) {
    ASSERT_THAT(text.substr(0, end), MatchesRegex("2[^ ]+Z INFO  line thread=[0-3] i=[0-9]+ end=end"));
  }
  EXPECT_EQ(lines, kThreads * kLines);
}

}  // namespace
}  // namespace millrace
