#include "net/http_message.h"

#include <gtest/gtest.h>

namespace millrace {
namespace {

TEST(HttpHeaders, FindWithoutCase) {
  HttpHeaders headers{{"X-A", "1"}, {"x-a", "2"}, {"Other", "3"}};
  EXPECT_EQ(headers.find("X-a"), "1");
  EXPECT_EQ(headers.count("X-A"), 2U);
  EXPECT_FALSE(headers.contains("X"));
}

TEST(HttpMessage, DatesAreInTheFixedForm) {
  EXPECT_EQ(http_date(std::chrono::system_clock::time_point(std::chrono::seconds(784111777))),
            "Sun, 06 Nov 1994 08:49:37 GMT");
}

TEST(HttpMessage, PercentDecodesStrictly) {
  EXPECT_EQ(percent_decode("a%20b%2Fc%c3%A9+d"), "a b/c\xc3\xa9+d");
  EXPECT_EQ(percent_decode(""), "");
  for (const char* wrong : {"%", "%2", "a%", "%zz", "%2g", "%g2", "%00", "% 2"}) {
    const auto decoded = percent_decode(wrong);
    ASSERT_FALSE(decoded) << wrong;
    EXPECT_EQ(decoded.error().code, Errc::invalid_argument);
  }
  EXPECT_FALSE(percent_decode(std::string_view("a\0b", 3)));
}

TEST(HttpMessage, PercentEncodingComesBack) {
  std::string all;
  for (int byte = 1; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(percent_decode(percent_encode(all, Slash::escape)), all);
  EXPECT_EQ(percent_encode("a/b c~", Slash::keep), "a/b%20c~");
  EXPECT_EQ(percent_encode("a/b", Slash::escape), "a%2Fb");
}

TEST(HttpMessage, QueriesKeepOrderAndRepeats) {
  const auto query = parse_query("b=1&a=x+y%2B&&c&d=&b=2=3&=e");
  ASSERT_TRUE(query);
  const HttpQuery expected = {{"b", "1"}, {"a", "x y+"}, {"c", ""}, {"d", ""}, {"b", "2=3"}, {"", "e"}};
  EXPECT_EQ(*query, expected);
  EXPECT_EQ(parse_query(""), HttpQuery());
  EXPECT_FALSE(parse_query("a=%"));
  EXPECT_FALSE(parse_query("%=a"));
}

TEST(HttpMessage, EveryCodeHasAStatusAndEveryStatusAName) {
  for (int code = 0; code <= static_cast<int>(Errc::internal); ++code) {
    const int status = http_status_of(static_cast<Errc>(code));
    EXPECT_GE(status, 400) << code;
    EXPECT_NE(http_reason(status), "Status") << status;
  }
  EXPECT_EQ(http_status_of(Errc::not_found), 404);
  EXPECT_EQ(http_reason(299), "Status");
}

}  // namespace
}  // namespace millrace
