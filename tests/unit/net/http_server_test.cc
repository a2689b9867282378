#include "net/http_server.h"

#include <gmock/gmock.h>
#include <sys/socket.h>

#include <fstream>
#include <thread>

#include "tests/unit/net/http_fixture.h"

namespace millrace::test {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kPing = "GET /ping HTTP/1.1\r\nHost: a\r\n\r\n";

std::string post(const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
}

TEST_F(HttpTest, AnswersOneRequestAfterTheOtherOnOneConnection) {
  start();
  RawClient one = client();
  for (int i = 0; i < 3; ++i) {
    one.send(kPing);
    const Answer answer = one.read_answer();
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.body, "pong");
    EXPECT_TRUE(answer.has("HTTP/1.1 200 OK\r\n"));
    EXPECT_TRUE(answer.has("Content-Length: 4\r\n"));
    EXPECT_TRUE(answer.has("Content-Type: text/plain\r\n"));
    EXPECT_TRUE(answer.has(" GMT\r\n"));
    EXPECT_FALSE(answer.has("Connection:"));
  }
}

TEST_F(HttpTest, ClosesWhenTheClientAsksForIt) {
  start();
  for (const char* request :
       {"GET /ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "GET /ping HTTP/1.0\r\n\r\n"}) {
    RawClient one = client();
    one.send(request);
    const Answer answer = one.read_answer();
    EXPECT_EQ(answer.body, "pong");
    EXPECT_TRUE(answer.has("Connection: close\r\n"));
    EXPECT_TRUE(one.ended());
  }
  RawClient old = client();
  old.send("GET /ping HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_TRUE(old.read_answer().has("Connection: keep-alive\r\n"));
  old.send("GET /ping HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.read_answer().body, "pong");
}

TEST_F(HttpTest, AnswersPipelinedRequestsInTheirOrder) {
  start();
  RawClient one = client();
  std::string requests;
  for (int i = 0; i < 200; ++i) requests += i % 2 == 0 ? post("/echo", std::to_string(i)) : kPing;
  one.send(requests);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(one.read_answer().body, i % 2 == 0 ? std::to_string(i) : "pong");
}

TEST_F(HttpTest, UnderstandsRequestsHoweverTheirBytesAreCut) {
  start();
  const std::string requests = post("/echo", "hello") +
                               "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                               "chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: 1\r\n\r\n" +
                               kPing;
  for (std::size_t cut = 0; cut <= requests.size(); ++cut) {
    RawClient one = client();
    one.send(requests.substr(0, cut));
    std::this_thread::yield();  // to the server; that every cut is understood, http_parser_test shows
    one.send(requests.substr(cut));
    EXPECT_EQ(one.read_answer().body, "hello") << cut;
    EXPECT_EQ(one.read_answer().body, "abcde") << cut;
    EXPECT_EQ(one.read_answer().body, "pong") << cut;
  }
  RawClient slow = client();
  for (const char byte : requests) slow.send({&byte, 1});
  EXPECT_EQ(slow.read_answer().body, "hello");
  EXPECT_EQ(slow.read_answer().body, "abcde");
  EXPECT_EQ(slow.read_answer().body, "pong");
}

TEST_F(HttpTest, ShowsTheRequestToTheHandler) {
  start();
  const Answer answer = ask("DELETE /tell/a%20b%2Fc+d?x=1%262&y&z=a+b&x=2 HTTP/1.1\r\nHost: a\r\nx-TEST: v\r\n\r\n");
  EXPECT_EQ(answer.body, "DELETE|/tell/a b/c+d|/tell/a%20b%2Fc+d|x=1&2|y=|z=a b|x=2|v");
  EXPECT_TRUE(answer.has("X-Peer: 127.0.0.1:"));
}

TEST_F(HttpTest, AnswersHeadLikeGetWithoutTheBody) {
  start();
  RawClient one = client();
  one.send("HEAD /ping HTTP/1.1\r\nHost: a\r\n\r\n");
  const Answer head = one.read_answer("HEAD");
  EXPECT_EQ(head.status, 200);
  EXPECT_TRUE(head.has("Content-Length: 4\r\n"));
  one.send("HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(one.read_answer("HEAD").has("Transfer-Encoding: chunked\r\n"));
  one.send(kPing);
  EXPECT_EQ(one.read_answer().body, "pong") << "a body that was sent would be taken for this answer";
}

TEST_F(HttpTest, SendsNoBodyWhereNoneMayBe) {
  start();
  RawClient one = client();
  one.send("GET /empty HTTP/1.1\r\nHost: a\r\n\r\n" + kPing);
  const Answer empty = one.read_answer();
  EXPECT_EQ(empty.status, 204);
  EXPECT_FALSE(empty.has("Content-Length"));
  EXPECT_EQ(one.read_answer().body, "pong");
}

TEST_F(HttpTest, StreamsInChunksAndToOldClientsUpToTheEnd) {
  start();
  RawClient one = client();
  one.send("GET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
  const Answer streamed = one.read_answer();
  EXPECT_TRUE(streamed.has("Transfer-Encoding: chunked\r\n"));
  EXPECT_EQ(streamed.body, "one two three");
  one.send(kPing);
  EXPECT_EQ(one.read_answer().body, "pong");
  const Answer old = ask("GET /stream HTTP/1.0\r\n\r\n");
  EXPECT_FALSE(old.has("Transfer-Encoding"));
  EXPECT_EQ(old.body, "one two three");
}

TEST_F(HttpTest, AnUnfinishedStreamDoesNotLookWhole) {
  start();
  RawClient one = client();
  one.send("GET /broken-stream HTTP/1.1\r\nHost: a\r\n\r\n");
  const std::string all = one.read_to_end();
  EXPECT_THAT(all, HasSubstr("4\r\nhalf\r\n"));
  EXPECT_THAT(all, Not(HasSubstr("\r\n0\r\n")));
}

TEST_F(HttpTest, AHandlerWithoutAnAnswerIsAnErrorOfTheServer) {
  start();
  EXPECT_EQ(ask("GET /none HTTP/1.1\r\nHost: a\r\n\r\n").status, 500);
  EXPECT_EQ(ask("GET /twice HTTP/1.1\r\nHost: a\r\n\r\n").body, "first");
}

TEST_F(HttpTest, KeepsHeadersOfAHandlerFromBecomingSomethingElse) {
  start();
  const Answer answer = ask("GET /inject HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(answer.has("X-Name: a  X-Evil: 1\r\n")) << answer.head;
  EXPECT_TRUE(answer.has("Content-Length: 2\r\n"));
  EXPECT_FALSE(answer.has("77"));
}

TEST_F(HttpTest, AsksForABodyOnlyWhenSomebodyWantsIt) {
  start();
  RawClient wanted = client();
  const std::string head = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: ";
  wanted.send(head + "3\r\n\r\n");
  EXPECT_EQ(wanted.read_answer().status, 100);
  wanted.send("abc");
  EXPECT_EQ(wanted.read_answer().body, "abc");

  RawClient large = client();
  large.send(head + "2000000\r\n\r\n");
  EXPECT_EQ(large.read_answer().status, 413);
  EXPECT_TRUE(large.ended());

  RawClient unwanted = client();
  unwanted.send("POST /ping HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
  const Answer answer = unwanted.read_answer();
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.has("Connection: close")) << "nobody knows whether the body still comes";
}

TEST_F(HttpTest, BoundsABodyAsItsReaderSays) {
  start();
  const std::string fits(1 << 20, 'x');
  EXPECT_EQ(ask(post("/echo", fits)).body, fits);
  const Answer large = ask(post("/echo", fits + "x"));
  EXPECT_EQ(large.status, 413);
  std::string chunks = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 17; ++i) chunks += "10000\r\n" + std::string(0x10000, 'x') + "\r\n";
  const Answer chunked = ask(chunks + "0\r\n\r\n");
  EXPECT_EQ(chunked.status, 413);
  EXPECT_TRUE(chunked.has("Connection: close"));
}

TEST_F(HttpTest, PassesOverASmallBodyThatNobodyReadAndGivesUpOnALargeOne) {
  start();
  RawClient one = client();
  one.send(post("/ping", std::string(1000, 'x')) + kPing);
  EXPECT_EQ(one.read_answer().body, "pong");
  EXPECT_EQ(one.read_answer().body, "pong");
  one.send(post("/ping", std::string(1 << 20, 'x')) + kPing);
  const Answer last = one.read_answer();
  EXPECT_EQ(last.body, "pong");
  EXPECT_TRUE(last.has("Connection: close"));
  EXPECT_TRUE(one.ended());
}

TEST_F(HttpTest, HoldsAnUploadBackUntilItsReaderGoesOn) {
  start();
  handler_.hold = true;
  constexpr std::size_t kBytes = 100 << 20;
  RawClient one = client();
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kBytes; ++i) sum = sum * 31 + static_cast<unsigned char>(i * 7 / 5);
  std::atomic<std::size_t> sent = 0;
  std::jthread uploader([&] {
    one.send("PUT /slow HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(kBytes) + "\r\n\r\n");
    std::string piece(1 << 20, '\0');
    for (std::size_t at = 0; at < kBytes; at += piece.size()) {
      for (std::size_t i = 0; i < piece.size(); ++i) piece[i] = static_cast<char>((at + i) * 7 / 5);
      one.send(piece);
      sent += piece.size();
    }
  });
  // The kernel's buffers fill up and then nothing moves any more.
  std::size_t before = 1;
  await([&] { return std::exchange(before, sent.load()) == sent.load() && sent.load() > 0; });
  EXPECT_LT(sent.load(), kBytes / 2);
  EXPECT_EQ(handler_.taken.load(), 0U);
  handler_.hold = false;
  uploader.join();
  EXPECT_EQ(one.read_answer().body, std::to_string(kBytes) + " " + std::to_string(sum));
}

TEST_F(HttpTest, SendsPartsOfFiles) {
  start();
  handler_.file_path = directory_ / "file";
  std::string content(5 << 20, '\0');
  for (std::size_t i = 0; i < content.size(); ++i) content[i] = static_cast<char>(i * 13 / 7);
  std::ofstream(handler_.file_path, std::ios::binary) << content;
  RawClient one = client();
  for (const auto& [offset, length] : std::vector<std::pair<std::size_t, std::size_t>>{
           {0, content.size()}, {1, 1}, {content.size() - 3, 3}, {0, 0}, {1'000'000, 3'000'001}}) {
    one.send("GET /file?offset=" + std::to_string(offset) + "&length=" + std::to_string(length) +
             " HTTP/1.1\r\nHost: a\r\n\r\n");
    const Answer answer = one.read_answer();
    EXPECT_EQ(answer.status, 200);
    EXPECT_TRUE(answer.body == content.substr(offset, length)) << offset << " " << length;
  }
  one.send("HEAD /file?length=10 HTTP/1.1\r\nHost: a\r\n\r\n" + kPing);
  EXPECT_TRUE(one.read_answer("HEAD").has("Content-Length: 10\r\n"));
  EXPECT_EQ(one.read_answer().body, "pong");
}

TEST_F(HttpTest, AFileThatIsShorterThanToldBreaksTheConnectionOff) {
  start();
  handler_.file_path = directory_ / "file";
  std::ofstream(handler_.file_path) << "short";
  RawClient one = client();
  one.send("GET /file?length=10 HTTP/1.1\r\nHost: a\r\n\r\n" + kPing);
  const std::string all = one.read_to_end();
  EXPECT_THAT(all, HasSubstr("Content-Length: 10"));
  EXPECT_THAT(all, Not(HasSubstr("pong")));
}

TEST_F(HttpTest, TellsTheHandlerWhenItsClientLeaves) {
  start();
  {
    RawClient one = client();
    one.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
    await([this] { return handler_.waiting == 1; });
  }
  await([this] { return handler_.cancelled == 1; });
  RawClient uploader = client();
  uploader.send("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
  await([this] { return handler_.taken == 3; });
  uploader.close();
  EXPECT_EQ(ask(kPing).body, "pong");
}

TEST_F(HttpTest, CutsAHeaderThatDrips) {
  start(quick());
  RawClient one = client();
  const timeval soon{.tv_sec = 0, .tv_usec = 20'000};
  ::setsockopt(one.fd(), SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
  one.send("GET /ping HTTP/1.1\r\n");
  Answer answer;
  for (int i = 0; i < 1000 && answer.status == 0; ++i) {
    one.send("X");  // always something new, never an end
    answer = one.read_answer();
    if (answer.status == 0 && !answer.head.empty()) break;
  }
  EXPECT_EQ(answer.status, 408);
}

TEST_F(HttpTest, ClosesIdleConnectionsWithoutAWord) {
  start(quick());
  RawClient never = client();
  EXPECT_EQ(never.read_to_end(), "");
  RawClient once = client();
  once.send(kPing);
  EXPECT_EQ(once.read_answer().body, "pong");
  EXPECT_EQ(once.read_to_end(), "");
}

TEST_F(HttpTest, GivesUpOnABodyThatFallsSilent) {
  start(quick());
  RawClient one = client();
  one.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
  const Answer answer = one.read_answer();
  EXPECT_EQ(answer.status, 504);
  EXPECT_TRUE(answer.has("Connection: close"));
}

TEST_F(HttpTest, GivesUpOnAClientThatDoesNotReadItsAnswer) {
  start(quick());
  RawClient one = client();
  one.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
  const auto& open = metrics_.gauge("millrace_http_connections", "open HTTP connections");
  await([&] { return open.value() == 1; });
  await([&] { return open.value() == 0; });
}

TEST_F(HttpTest, TurnsConnectionsAwayThatAreTooMany) {
  HttpServerOptions options{.io_threads = 2, .connections_max = 3};
  start(options);
  std::vector<RawClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(client());
    clients.back().send(kPing);
    EXPECT_EQ(clients.back().read_answer().status, 200);
  }
  const Answer refused = ask(kPing);
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.has("Retry-After: "));
  EXPECT_EQ(metrics_
                .counter("millrace_http_connections_refused_total",
                         "connections that were turned away because there were too many")
                .value(),
            1U);
  clients.pop_back();
  await([this] { return ask(kPing).status == 200; });
}

TEST_F(HttpTest, NamesAPortThatIsTaken) {
  start();
  const auto second = HttpServer::start({.port = server_->port()}, handler_, metrics_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Errc::unavailable);
  EXPECT_THAT(second.error().message, HasSubstr("127.0.0.1:" + std::to_string(server_->port())));
  EXPECT_THAT(second.error().message, HasSubstr("taken"));
}

TEST_F(HttpTest, NamesAnAddressThatIsNone) {
  for (const char* address : {"", "not an address", "203.0.113.1", "example.invalid"}) {
    const auto server = HttpServer::start({.address = address}, handler_, metrics_);
    ASSERT_FALSE(server) << address;
    EXPECT_EQ(server.error().code, Errc::invalid_argument) << server.error().message;
  }
}

TEST_F(HttpTest, ListensOnBothFamilies) {
  auto server = HttpServer::start({.address = "::", .io_threads = 1}, handler_, metrics_);
  if (!server) GTEST_SKIP() << "this host has no IPv6: " << server.error().message;
  server_ = std::move(*server);
  EXPECT_EQ(ask(kPing).body, "pong") << "over IPv4";
}

TEST_F(HttpTest, DrainsByFinishingWhatIsInWork) {
  start();
  RawClient idle = client();
  idle.send(kPing);
  EXPECT_EQ(idle.read_answer().body, "pong");
  RawClient busy = client();
  busy.send("POST /count HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na");
  await([this] { return handler_.taken == 1; });
  TaskGroup group(loop_);
  group.spawn(server_->stop(loop_, std::chrono::seconds(30)));
  std::jthread later([&] {
    EXPECT_TRUE(idle.ended());  // so the draining has begun
    busy.send("bc");
    const Answer answer = busy.read_answer();
    EXPECT_THAT(answer.body, testing::StartsWith("3 "));
    EXPECT_TRUE(answer.has("Connection: close"));
    EXPECT_TRUE(busy.ended());
    busy.close();
  });
  run_task(loop_, group.join());
}

TEST_F(HttpTest, CancelsWhatDoesNotFinishInTime) {
  start();
  RawClient one = client();
  one.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
  await([this] { return handler_.waiting == 1; });
  stop(std::chrono::milliseconds(1));
  EXPECT_EQ(handler_.cancelled, 1);
  EXPECT_EQ(one.read_answer().body, "over");
}

TEST_F(HttpTest, DropsEverythingWhenDestroyed) {
  start();
  RawClient one = client();
  one.send("GET /wait HTTP/1.1\r\nHost: a\r\n\r\n");
  await([this] { return handler_.waiting == 1; });
  server_.reset();
  EXPECT_EQ(one.read_to_end(), "");
}

TEST_F(HttpTest, ServesManyClientsAtOnce) {
  start();
  std::vector<std::jthread> threads;
  std::atomic<int> right = 0;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([this, t, &right] {
      RawClient one = client();
      for (int i = 0; i < 100; ++i) {
        const std::string body = std::to_string(t * 1000 + i) + std::string(static_cast<std::size_t>(i * 700), 'x');
        one.send(post("/echo", body));
        if (one.read_answer().body == body) ++right;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(right, 800);
}

}  // namespace
}  // namespace millrace::test
