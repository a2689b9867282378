// What an origin server must not accept, one request a row. Wherever two readings of the same bytes are possible,
// whoever stands in front of us may have chosen the other one, so the answer is an error and the connection ends.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <ostream>

#include "tests/unit/net/http_fixture.h"

namespace millrace::test {
namespace {

struct Row {
  std::string name;
  std::string request;
  int status;  // 0: closed without an answer
};

// For GoogleTest's messages and test names.
void PrintTo(const Row& row, std::ostream* out) {
  *out << row.name;
}

const std::string kHost = "Host: a\r\n";
const std::string kPost = "POST /echo HTTP/1.1\r\n" + kHost;
const std::string kChunkedPost = kPost + "Transfer-Encoding: chunked\r\n\r\n";

// Each is followed by bytes that would be a second request if the first were read otherwise.
std::vector<Row> rows() {
  return {
      {"LengthAndChunked", kPost + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"ChunkedAndLength", kPost + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400},
      {"TwoDifferentLengths", kPost + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400},
      {"TwoSameLengths", kPost + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
      {"DifferentLengthsInAList", kPost + "Content-Length: 3, 4\r\n\r\nabcd", 400},
      {"NegativeLength", kPost + "Content-Length: -1\r\n\r\n", 400},
      {"SignedLength", kPost + "Content-Length: +3\r\n\r\nabc", 400},
      {"HexLength", kPost + "Content-Length: 0x3\r\n\r\nabc", 400},
      {"EmptyLength", kPost + "Content-Length: \r\n\r\n", 400},
      {"OverflowingLength", kPost + "Content-Length: 18446744073709551616\r\n\r\n", 400},
      {"ChunkSizeNotHex", kChunkedPost + "xyz\r\nabc\r\n0\r\n\r\n", 400},
      {"ChunkSizeOf17Digits", kChunkedPost + "11111111111111111\r\nabc\r\n0\r\n\r\n", 400},
      {"ChunkSizeWithPrefix", kChunkedPost + "0x3\r\nabc\r\n0\r\n\r\n", 400},
      {"ChunkSizeNegative", kChunkedPost + "-1\r\nabc\r\n0\r\n\r\n", 400},
      {"ChunkNotEndedByALine", kChunkedPost + "3\r\nabcX\r\n0\r\n\r\n", 400},
      {"BareLineFeedInChunkFraming", kChunkedPost + "3\nabc\n0\n\n", 400},
      {"LineFeedInAChunkExtension", kChunkedPost + "3;x=\"\n\"\r\nabc\r\n0\r\n\r\n", 400},
      {"CarriageReturnInAChunkExtension", kChunkedPost + "3;x=\"\ra\"\r\nabc\r\n0\r\n\r\n", 400},
      {"LineFeedInTheLastChunkExtension", kChunkedPost + "0;x=\"\n\"\r\n\r\n", 400},
      {"ChunkExtensionWithoutEnd", kChunkedPost + "3;" + std::string(1 << 20, 'x') + "\r\nabc\r\n0\r\n\r\n", 400},
      {"CodingBehindChunked", kPost + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 400},
      {"CodingBeforeChunked", kPost + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400},
      {"UnknownCoding", kPost + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400},
      {"TwoCodings", kPost + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400},
      {"ChunkedOn10", "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {"BareLineFeeds", "GET /ping HTTP/1.1\nHost: a\n\n", 400},
      {"BareLineFeedBetweenFields", "GET /ping HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400},
      {"BareCarriageReturn", "GET /ping HTTP/1.1\r\n" + kHost + "A: b\rTransfer-Encoding: chunked\r\n\r\n", 400},
      {"SpaceBeforeColon", kPost + "Content-Length : 3\r\n\r\nabc", 400},
      {"ZeroInValue", "GET /ping HTTP/1.1\r\n" + kHost + std::string("X: a\0b\r\n\r\n", 10), 400},
      {"ZeroInName", "GET /ping HTTP/1.1\r\n" + kHost + std::string("X\0: a\r\n\r\n", 9), 400},
      {"NamelessField", "GET /ping HTTP/1.1\r\n" + kHost + ": a\r\n\r\n", 400},
      {"FieldWithoutColon", "GET /ping HTTP/1.1\r\n" + kHost + "nothing\r\n\r\n", 400},
      {"FoldedLine", "GET /ping HTTP/1.1\r\n" + kHost + "X: a\r\n b\r\n\r\n", 400},
      {"FoldedLineByTab", "GET /ping HTTP/1.1\r\n" + kHost + "X: a\r\n\tb\r\n\r\n", 400},
      {"FoldedFirstLine", "GET /ping HTTP/1.1\r\n X: a\r\n" + kHost + "\r\n", 400},
      {"LargeField", "GET /ping HTTP/1.1\r\n" + kHost + "X: " + std::string(1 << 20, 'x') + "\r\n\r\n", 431},
      {"ManyFields",
       "GET /ping HTTP/1.1\r\n" + kHost +
           [] {
             std::string fields;
             for (int i = 0; i < 20'000; ++i) fields += "X" + std::to_string(i) + ": a\r\n";
             return fields;
           }() +
           "\r\n",
       431},
      {"LargeTarget", "GET /" + std::string(1 << 20, 'x') + " HTTP/1.1\r\n" + kHost + "\r\n", 431},
      {"NoVersion", "GET /ping\r\n\r\n", 400},
      {"HighVersion", "GET /ping HTTP/9.9\r\n" + kHost + "\r\n", 400},
      {"Version2Preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
      {"OtherProtocol", "\x16\x03\x01\x02\x01\x01\x01\xfc\x03\x03" + std::string(200, 'x') + "\r\n\r\n", 400},
      {"LowerCaseMethod", "get /ping HTTP/1.1\r\n" + kHost + "\r\n", 501},
      {"UnknownMethod", "BREW /ping HTTP/1.1\r\n" + kHost + "\r\n", 501},
      {"NoHost", "GET /ping HTTP/1.1\r\n\r\n", 400},
      {"TwoHosts", "GET /ping HTTP/1.1\r\n" + kHost + kHost + "\r\n", 400},
      {"NoTarget", "GET HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"RelativeTarget", "GET ping HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"AuthorityTarget", "GET a:80 HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"AsteriskTarget", "GET * HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"AbsoluteTargetWithoutHost", "GET http:///ping HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"SpaceInTarget", "GET /ping /ping HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"BrokenEscape", "GET /ping%2 HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"BrokenEscapeInQuery", "GET /ping?a=%zz HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"ZeroInPath", "GET /ping%00 HTTP/1.1\r\n" + kHost + "\r\n", 400},
      {"UnknownExpectation", kPost + "Expect: 200-maybe\r\nContent-Length: 3\r\n\r\nabc", 417},
  };
}

class HttpHostile : public HttpTest, public testing::WithParamInterface<Row> {};

TEST_P(HttpHostile, IsRefusedAndTheConnectionEnds) {
  start();
  RawClient one = client();
  one.send(GetParam().request);
  one.send("GET /ping HTTP/1.1\r\nHost: a\r\n\r\n");  // the smuggled one
  const Answer answer = one.read_answer();
  EXPECT_EQ(answer.status, GetParam().status) << answer.head << answer.body;
  EXPECT_TRUE(answer.has("Connection: close")) << answer.head;
  EXPECT_EQ(one.read_to_end(), "") << "nothing may follow, not even a reset that could have overtaken the answer";
  EXPECT_EQ(ask("GET /ping HTTP/1.1\r\nHost: a\r\n\r\n").body, "pong") << "the server goes on";
}

std::string row_name(const testing::TestParamInfo<Row>& info) {
  return info.param.name;
}

INSTANTIATE_TEST_SUITE_P(Rows, HttpHostile, testing::ValuesIn(rows()), row_name);

// The same, a byte at a time: nothing may depend on how the bytes are cut.
TEST_F(HttpTest, RefusesAHeaderThatGrowsInSmallPieces) {
  start();
  RawClient one = client();
  one.send("GET /ping HTTP/1.1\r\nHost: a\r\n");
  for (int i = 0; i < 3000; ++i) one.send("X: aaaaaaaaa\r\n");
  const Answer answer = one.read_answer();
  EXPECT_EQ(answer.status, 431);
}

TEST_F(HttpTest, TakesABodyThatNobodyWantsForALimitedTimeInAll) {
  constexpr int kPiecesMax = 3'000;  // far more than fit into the time
  start(quick());
  RawClient one = client();
  one.send("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n");
  EXPECT_GE(one.read_answer("POST").status, 200);
  int pieces = 0;
  for (pollfd end{.fd = one.fd(), .events = POLLIN, .revents = 0}; pieces < kPiecesMax; ++pieces) {
    if (::poll(&end, 1, 10) > 0) break;
    ASSERT_EQ(::send(one.fd(), "x", 1, MSG_NOSIGNAL), 1);
  }
  EXPECT_GT(pieces, 0);
  EXPECT_LT(pieces, kPiecesMax) << "each byte bought more time";
}

TEST_F(HttpTest, RefusesTrailersThatGrowInSmallPieces) {
  start();
  RawClient one = client();
  one.send(kChunkedPost + "3\r\nabc\r\n0\r\n");
  for (int i = 0; i < 3000; ++i) one.send("X: aaaaaaaaa\r\n");
  EXPECT_EQ(one.read_answer().status, 400);
}

TEST_F(HttpTest, AcceptsAHeaderOfTheGreatestSizeAndNotOneByteMore) {
  start();
  const std::string around = "GET /ping HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n";
  for (const int extra : {0, 1}) {
    const std::string filler(static_cast<std::size_t>((16 << 10) - static_cast<int>(around.size()) + extra), 'x');
    const auto answer = ask("GET /ping HTTP/1.1\r\nHost: a\r\nX: " + filler + "\r\n\r\n");
    EXPECT_EQ(answer.status, extra == 0 ? 200 : 431);
  }
}

TEST_F(HttpTest, AcceptsWhatOnlyLooksOdd) {
  start();
  EXPECT_EQ(ask("GET http://other/ping HTTP/1.1\r\nHost: a\r\n\r\n").body, "pong");
  EXPECT_EQ(ask("\r\nGET /ping HTTP/1.1\r\nHost: a\r\n\r\n").body, "pong");
  EXPECT_EQ(ask("GET /ping HTTP/1.0\r\n\r\n").body, "pong");
  EXPECT_EQ(ask("POST /echo HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 3\r\n\r\nabc").body, "abc");
  EXPECT_EQ(
      ask("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: 1\r\n\r\n").body,
      "abc");
  EXPECT_EQ(ask("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc").body, "abc");
  EXPECT_EQ(ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status, 404);
}

}  // namespace
}  // namespace millrace::test
