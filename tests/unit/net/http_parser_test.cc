#include "net/http_parser.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace millrace {
namespace {

using Event = HttpParser::Event;

struct Seen {
  std::vector<std::string> targets;
  std::string bodies;
  int done = 0;
  bool bad = false;
  bool operator==(const Seen&) const = default;
};

// Feeds the parts one after the other, as a connection does: what was not taken is presented again.
Seen parse(const std::vector<std::string>& parts) {
  HttpParser parser({});
  Seen seen;
  std::string pending;
  for (const auto& part : parts) {
    pending += part;
    std::string_view input = pending;
    for (Event event = parser.next(input); event != Event::more; event = parser.next(input)) {
      if (event == Event::bad) {
        seen.bad = true;
        return seen;
      }
      if (event == Event::head) seen.targets.push_back(parser.head().target);
      if (event == Event::body) seen.bodies += parser.body();
      if (event == Event::done) {
        ++seen.done;
        parser.reset();
      }
    }
    pending.erase(0, pending.size() - input.size());
  }
  return seen;
}

const std::string kRequests =
    "\r\nPOST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello"
    "GET /b?x=1 HTTP/1.1\r\nHost: h\r\nX:\t y \r\n\r\n"
    "\r\nPUT /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: "
    "chunked\r\n\r\n3;q=\"z\"\r\nabc\r\n0a\r\n0123456789\r\n0\r\nT: 1\r\n\r\n"
    "PUT /e HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    "GET http://h/d HTTP/1.0\r\n\r\n";
const Seen kUnderstood = {.targets = {"/a", "/b?x=1", "/c", "/e", "/d"}, .bodies = "helloabc0123456789", .done = 5};

TEST(HttpParser, UnderstandsRequestsCutAnywhere) {
  EXPECT_EQ(parse({kRequests}), kUnderstood);
  for (std::size_t cut = 1; cut < kRequests.size(); ++cut) {
    EXPECT_EQ(parse({kRequests.substr(0, cut), kRequests.substr(cut)}), kUnderstood) << cut;
  }
  for (std::size_t first = 1; first < kRequests.size(); ++first) {
    for (std::size_t second = first + 1; second < kRequests.size(); second += 7) {
      EXPECT_EQ(parse({kRequests.substr(0, first), kRequests.substr(first, second - first), kRequests.substr(second)}),
                kUnderstood)
          << first << " " << second;
    }
  }
  std::vector<std::string> bytes;
  for (const char byte : kRequests) bytes.emplace_back(1, byte);
  EXPECT_EQ(parse(bytes), kUnderstood);
}

TEST(HttpParser, RefusesTheSameHoweverItIsCut) {
  for (const std::string request : {
           "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
           "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n",
           "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
           "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
           "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
           "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
           "GET / HTTP/1.1\r\n\r\n",
       }) {
    EXPECT_TRUE(parse({request}).bad) << request;
    for (std::size_t cut = 1; cut < request.size(); ++cut) {
      EXPECT_TRUE(parse({request.substr(0, cut), request.substr(cut)}).bad) << cut << " of " << request;
    }
  }
}

TEST(HttpParser, CountsAHeaderInWhateverPiecesItComes) {
  const std::string start = "GET / HTTP/1.1\r\nHost: h\r\n";
  for (const std::size_t piece : {1U, 13U, 1000U}) {
    std::vector<std::string> parts = {start};
    const std::string fields = [] {
      std::string text;
      for (int i = 0; i < 2000; ++i) text += "X: aaaaaaa\r\n";
      return text;
    }();
    for (std::size_t at = 0; at < fields.size(); at += piece) parts.push_back(fields.substr(at, piece));
    EXPECT_TRUE(parse(parts).bad) << piece;
  }
}

TEST(HttpParser, TellsWhatTheHeadSaid) {
  HttpParser parser({});
  std::string_view input =
      "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nabc";
  ASSERT_EQ(parser.next(input), Event::head);
  EXPECT_EQ(parser.head().method, "PUT");
  EXPECT_EQ(parser.head().content_length, 7U);
  EXPECT_TRUE(parser.head().expects_continue);
  EXPECT_FALSE(parser.head().keep_alive);
  EXPECT_FALSE(parser.head().chunked);
  EXPECT_FALSE(parser.finished());
  ASSERT_EQ(parser.next(input), Event::body);
  EXPECT_EQ(parser.body(), "abc");
  EXPECT_EQ(parser.next(input), Event::more);
}

TEST(HttpParser, StaysBadAfterwards) {
  HttpParser parser({});
  std::string_view input = "BREW / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n";
  EXPECT_EQ(parser.next(input), Event::bad);
  EXPECT_EQ(parser.status(), 501);
  EXPECT_EQ(parser.next(input), Event::bad);
}

}  // namespace
}  // namespace millrace
