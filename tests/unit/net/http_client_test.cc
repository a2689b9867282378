#include "net/http_client.h"

#include <fcntl.h>
#include <gmock/gmock.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "async/task_group.h"
#include "tests/unit/net/http_fixture.h"

namespace millrace::test {
namespace {

using testing::HasSubstr;
using testing::Not;

class HttpClientTest : public HttpTest {
 protected:
  HttpClientTest() { start(); }

  std::string url(const std::string& path) { return "http://127.0.0.1:" + std::to_string(server_->port()) + path; }

  HttpClientRequest request(const std::string& method, const std::string& path, std::string body = "") {
    HttpClientRequest made;
    made.method = method;
    made.url = url(path);
    made.body = std::move(body);
    return made;
  }

  Result<HttpClientResponse> send(HttpClientRequest request) {
    return run_task(loop_, client_.send(std::move(request)));
  }

  void expect_error(const Result<HttpClientResponse>& result, Errc code, const std::string& words) {
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, code) << result.error().message;
    EXPECT_THAT(result.error().message, HasSubstr(words));
  }

  // A descriptor of a new file with this content.
  Fd file(const std::string& content) {
    const std::string path = directory_ / "file";
    std::ofstream(path, std::ios::binary) << content;
    return Fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  }

  HttpClient client_{loop_, {}};
};

TEST_F(HttpClientTest, GetsAnAnswer) {
  const auto response = send(request("GET", "/ping"));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 200);
  EXPECT_EQ(response->body, "pong");
  EXPECT_EQ(response->headers.find("content-type"), "text/plain");
}

TEST_F(HttpClientTest, AnyStatusIsAnAnswer) {
  const auto response = send(request("GET", "/nowhere"));
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 404);
  EXPECT_EQ(response->body, "not here");
}

TEST_F(HttpClientTest, SendsMethodsHeadersAndTargetsAsTheyAre) {
  HttpClientRequest asked = request("DELETE", "/tell/a%2Fb/../c?x=%26&y=");
  asked.headers = {{"X-Test", "value"}, {"X-Empty", ""}};
  const auto response = send(asked);
  ASSERT_TRUE(response);
  EXPECT_EQ(response->body, "DELETE|/tell/a/b/../c|/tell/a%2Fb/../c|x=&|y=|value");
  const auto head = send(request("HEAD", "/ping"));
  ASSERT_TRUE(head) << head.error().message;
  EXPECT_EQ(head->headers.find("Content-Length"), "4");
  EXPECT_EQ(head->body, "");
}

TEST_F(HttpClientTest, SendsBodiesFromMemory) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{1} << 20}) {
    const std::string body(size, 'x');
    const auto response = send(request("POST", "/echo", body));
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_EQ(response->status, 200);
    EXPECT_TRUE(response->body == body) << size;
  }
}

TEST_F(HttpClientTest, HearsOfALimitBeforeItHasSentEverything) {
  const auto response = send(request("POST", "/echo", std::string(8 << 20, 'x')));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 413);
}

TEST_F(HttpClientTest, SendsPartsOfFilesAndTellsOfProgress) {
  std::string content(3 << 20, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 7 / 3);
  const Fd source = file(content);
  HttpClientRequest asked = request("PUT", "/echo");
  asked.body_file = {.fd = source.get(), .offset = 100, .bytes = 1'000'000};
  std::uint64_t sent = 0;
  asked.on_progress = [&sent](const HttpProgress& progress) { sent = progress.sent_bytes; };
  const auto response = send(asked);
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_TRUE(response->body == content.substr(100, 1'000'000));
  EXPECT_EQ(sent, 1'000'000U);
}

TEST_F(HttpClientTest, SaysWhenAFileIsShorterThanTold) {
  const Fd source = file("short");
  HttpClientRequest asked = request("PUT", "/echo");
  asked.body_file = {.fd = source.get(), .offset = 0, .bytes = 100};
  expect_error(send(asked), Errc::failed_precondition, "shorter");
}

TEST_F(HttpClientTest, StoresAnAnswerInAFileButNotAnError) {
  handler_.file_path = directory_ / "source";
  const std::string content(3'000'000, 'f');
  std::ofstream(handler_.file_path) << content;
  const std::string target = directory_ / "target";
  for (const auto& [path, expected] : {std::pair("/file?length=3000000", 200), std::pair("/nowhere", 404)}) {
    const Fd fd(::open(target.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    HttpClientRequest asked = request("GET", path);
    asked.response_fd = fd.get();
    const auto response = send(asked);
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_EQ(response->status, expected);
    EXPECT_EQ(response->body, expected == 200 ? "" : "not here");
    std::ifstream stored(target);
    const std::string text{std::istreambuf_iterator<char>(stored), {}};
    EXPECT_TRUE(text == (expected == 200 ? content : ""));
  }
}

TEST_F(HttpClientTest, SaysWhenTheFileTakesNoMore) {
  const Fd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  HttpClientRequest asked = request("GET", "/ping");
  asked.response_fd = full.get();
  expect_error(send(asked), Errc::no_space, "write the answer");
}

TEST_F(HttpClientTest, HandsOverPiecesAsTheyCome) {
  std::string all;
  HttpClientRequest asked = request("GET", "/stream");
  asked.on_piece = [&all](std::string_view piece) { all += piece; };
  const auto response = send(asked);
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(all, "one two three");
  EXPECT_EQ(response->body, "");
}

TEST_F(HttpClientTest, BoundsAnAnswerInMemory) {
  HttpClientRequest asked = request("GET", "/big");
  asked.response_bytes_max = 1 << 20;
  expect_error(send(asked), Errc::too_large, "larger than 1048576");
}

TEST_F(HttpClientTest, DoesNotTakeAHalfAnswerForAWholeOne) {
  expect_error(send(request("GET", "/broken-stream")), Errc::unavailable, "GET http://127.0.0.1");
}

TEST_F(HttpClientTest, DoesNotFollowRedirects) {
  const auto response = send(request("GET", "/redirect"));
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 302);
  EXPECT_EQ(response->headers.find("Location"), "/ping");
}

TEST_F(HttpClientTest, NeverAsksLoopbackThroughAProxy) {
  ::setenv("http_proxy", "http://127.0.0.1:1", 1);
  const auto response = send(request("GET", "/ping"));
  ::unsetenv("http_proxy");
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->body, "pong");
}

TEST_F(HttpClientTest, EndsAtItsDeadline) {
  HttpClientRequest asked = request("GET", "/wait");
  asked.total = std::chrono::milliseconds(50);
  expect_error(send(asked), Errc::deadline_exceeded, "/wait");
  await([this] { return handler_.cancelled == 1; });
}

Task<void> send_into(HttpClient& client, HttpClientRequest request, std::stop_token stop,
                     Result<HttpClientResponse>& result) {
  result = co_await client.send(std::move(request), stop);
}

TEST_F(HttpClientTest, CanBeCancelled) {
  TaskGroup group(loop_);
  Result<HttpClientResponse> result = fail(Errc::internal, "not asked");
  group.spawn(send_into(client_, request("GET", "/wait"), group.stop_token(), result));
  await([this] { return handler_.waiting == 1; });
  group.request_stop();
  run_task(loop_, group.join());
  expect_error(result, Errc::cancelled, "/wait");
  await([this] { return handler_.cancelled == 1; });
  group.spawn(send_into(client_, request("GET", "/ping"), group.stop_token(), result));
  expect_error(result, Errc::cancelled, "/ping");
}

TEST_F(HttpClientTest, CanBeDroppedInTheMiddle) {
  {
    TaskGroup group(loop_);
    Result<HttpClientResponse> result = fail(Errc::internal, "not asked");
    group.spawn(send_into(client_, request("GET", "/wait"), {}, result));
    await([this] { return handler_.waiting == 1; });
  }
  await([this] { return handler_.cancelled == 1; });
  const auto response = send(request("GET", "/ping"));
  EXPECT_TRUE(response);
}

TEST_F(HttpClientTest, SendsManyAtOnceAndKeepsConnections) {
  TaskGroup group(loop_);
  std::vector<Result<HttpClientResponse>> results(200, fail(Errc::internal, "not asked"));
  for (auto& result : results) group.spawn(send_into(client_, request("POST", "/echo", "hello"), {}, result));
  run_task(loop_, group.join());
  for (const auto& result : results) {
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->body, "hello");
  }
  const auto before = metrics_.gauge("millrace_http_connections", "open HTTP connections").value();
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(send(request("GET", "/ping")));
  EXPECT_LE(metrics_.gauge("millrace_http_connections", "open HTTP connections").value(), before);
}

TEST_F(HttpClientTest, NamesAHostThatCannotBeReachedWithoutSecrets) {
  HttpClientRequest asked;
  asked.url = "http://user:password@127.0.0.1:1/path?signature=secret";  // nobody listens on port 1
  const auto result = send(asked);
  expect_error(result, Errc::unavailable, "GET http://127.0.0.1:1/path");
  EXPECT_THAT(result.error().message, Not(HasSubstr("secret")));
  EXPECT_THAT(result.error().message, Not(HasSubstr("password")));
}

TEST_F(HttpClientTest, RefusesWhatCannotBeSent) {
  HttpClientRequest asked = request("GET", "/ping");
  asked.url = "ftp://127.0.0.1/";
  expect_error(send(asked), Errc::invalid_argument, "GET");
  asked.url = "no url";
  expect_error(send(asked), Errc::invalid_argument, "GET");
  asked = request("GET /\r\nX: 1", "/ping");
  expect_error(send(asked), Errc::invalid_argument, "method");
  asked = request("GET", "/ping");
  asked.headers = {{"X", "a\r\nEvil: 1"}};
  expect_error(send(asked), Errc::invalid_argument, "one line");
}

}  // namespace
}  // namespace millrace::test
