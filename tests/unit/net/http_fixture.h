// A real server on a free loopback port, with answers that tests look at.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "async/sleep.h"
#include "core/fd.h"
#include "net/http_server.h"
#include "tests/support/raw_http_client.h"
#include "tests/support/run_task.h"
#include "tests/support/temp_dir.h"

namespace millrace::test {

// Routes by path, with answers that tests look at.
class TestHandler final : public HttpHandler {
 public:
  Task<void> handle(HttpRequest& request, HttpResponder& responder) override;

  std::string file_path;
  std::atomic<int> waiting = 0;        // handlers of /wait at work
  std::atomic<int> cancelled = 0;      // those whose client left, or whose server gave up
  std::atomic<bool> hold = false;      // /slow does not read on while this is true
  std::atomic<std::size_t> taken = 0;  // bytes of bodies that /slow and /count have taken

 private:
  static Task<void> echo(HttpRequest& request, HttpResponder& responder);
  static Task<void> tell(HttpRequest& request, HttpResponder& responder);
  static Task<void> stream(HttpResponder& responder);
  Task<void> count(HttpRequest& request, HttpResponder& responder);
  Task<void> wait(HttpRequest& request, HttpResponder& responder);
  Task<void> send_file(HttpRequest& request, HttpResponder& responder);
};

class HttpTest : public testing::Test {
 protected:
  static HttpServerOptions quick();  // time limits of a fraction of a second
  void start(HttpServerOptions options);
  void start() { start(HttpServerOptions{.io_threads = 2}); }
  [[nodiscard]] RawClient client() { return RawClient(server_->port()); }
  Answer ask(const std::string& request, std::string_view method = "GET");
  void stop(std::chrono::milliseconds drain) { run_task(loop_, server_->stop(loop_, drain)); }

  // Waits for something that happens on another thread. What was true once need not be so again.
  template <class Condition>
  void await(Condition condition) {
    bool met = condition();
    for (int i = 0; i < 5000 && !met; ++i) {
      run_task(loop_, sleep(1));
      met = condition();
    }
    EXPECT_TRUE(met);
  }

  UvEventLoop loop_;
  Metrics metrics_;
  TestHandler handler_;
  TempDir directory_;
  std::unique_ptr<HttpServer> server_;

 private:
  Task<void> sleep(int milliseconds);
};

inline Task<void> TestHandler::handle(HttpRequest& request, HttpResponder& responder) {
  const std::string path = request.path();
  if (path == "/ping") {
    (void)co_await responder.send(200, {{"Content-Type", "text/plain"}}, "pong");
  } else if (path == "/echo") {
    co_await echo(request, responder);
  } else if (path == "/count" || path == "/slow") {
    co_await count(request, responder);
  } else if (path == "/stream") {
    co_await stream(responder);
  } else if (path == "/broken-stream") {
    (void)co_await responder.start(200, {});
    (void)co_await responder.write("half");
  } else if (path == "/wait") {
    co_await wait(request, responder);
  } else if (path == "/file") {
    co_await send_file(request, responder);
  } else if (path == "/empty") {
    (void)co_await responder.send(204, {}, "never sent");
  } else if (path == "/inject") {
    (void)co_await responder.send(200, {{"X-Name", "a\r\nX-Evil: 1"}, {"Content-Length", "77"}}, "ok");
  } else if (path == "/redirect") {
    (void)co_await responder.send(302, {{"Location", "/ping"}}, "over there");
  } else if (path == "/twice") {
    (void)co_await responder.send(200, {}, "first");
    const auto again = co_await responder.send(200, {}, "second");
    EXPECT_FALSE(again);
  } else if (path == "/big") {
    (void)co_await responder.send(200, {}, std::string(20 << 20, 'b'));
  } else if (path.starts_with("/tell")) {
    co_await tell(request, responder);
  } else if (path != "/none") {
    (void)co_await responder.send(404, {}, "not here");
  }
}

inline Task<void> TestHandler::echo(HttpRequest& request, HttpResponder& responder) {
  const auto body = co_await request.read_body(1 << 20);
  const int status = body ? 200 : http_status_of(body.error().code);
  (void)co_await responder.send(status, {}, body ? *body : body.error().message);
}

inline Task<void> TestHandler::tell(HttpRequest& request, HttpResponder& responder) {
  std::string text = request.method() + "|" + request.path() + "|" + std::string(request.raw_path());
  for (const auto& [name, value] : request.query()) text += "|" + name + "=" + value;
  text += "|" + std::string(request.header("X-Test").value_or("none"));
  (void)co_await responder.send(200, {{"X-Peer", request.peer()}}, std::move(text));
}

inline Task<void> TestHandler::stream(HttpResponder& responder) {
  (void)co_await responder.start(200, {{"Content-Type", "text/event-stream"}});
  for (const char* piece : {"one ", "", "two ", "three"}) (void)co_await responder.write(piece);
  (void)co_await responder.finish();
  const auto late = co_await responder.write("late");
  EXPECT_FALSE(late);
}

inline Task<void> TestHandler::count(HttpRequest& request, HttpResponder& responder) {
  std::size_t bytes = 0;
  std::uint64_t sum = 0;
  for (;;) {
    while (hold) co_await yield(request.loop());
    const auto chunk = co_await request.next_chunk();
    if (!chunk) {
      (void)co_await responder.send(http_status_of(chunk.error().code), {}, chunk.error().message);
      co_return;
    }
    if (!*chunk) break;
    const std::string before(**chunk);
    co_await yield(request.loop());  // another connection may read now
    EXPECT_EQ(before, **chunk) << "a piece changed while its reader waited";
    bytes += before.size();
    for (const char c : before) sum = sum * 31 + static_cast<unsigned char>(c);
    taken += before.size();
  }
  (void)co_await responder.send(200, {}, std::to_string(bytes) + " " + std::to_string(sum));
}

inline Task<void> TestHandler::wait(HttpRequest& request, HttpResponder& responder) {
  ++waiting;
  const auto slept = co_await sleep_for(request.loop(), std::chrono::hours(1), request.stop_token());
  if (!slept) ++cancelled;
  --waiting;
  (void)co_await responder.send(200, {}, "over");
}

inline Task<void> TestHandler::send_file(HttpRequest& request, HttpResponder& responder) {
  Fd file(::open(file_path.c_str(), O_RDONLY | O_CLOEXEC));
  const auto offset = std::stoull(std::string(request.query("offset").value_or("0")));
  const auto length = std::stoull(std::string(request.query("length").value_or("0")));
  (void)co_await responder.send_file(200, {}, std::move(file), offset, length);
}

inline HttpServerOptions HttpTest::quick() {
  return {.io_threads = 1,
          .idle = std::chrono::milliseconds(300),
          .header = std::chrono::milliseconds(300),
          .body_silence = std::chrono::milliseconds(300),
          .write_silence = std::chrono::milliseconds(300),
          .linger = std::chrono::milliseconds(300)};
}

inline void HttpTest::start(HttpServerOptions options) {
  auto server = HttpServer::start(options, handler_, metrics_);
  ASSERT_TRUE(server) << server.error().message;
  server_ = std::move(*server);
}

inline Answer HttpTest::ask(const std::string& request, std::string_view method) {
  RawClient one = client();
  one.send(request);
  return one.read_answer(method);
}

inline Task<void> HttpTest::sleep(int milliseconds) {
  (void)co_await sleep_for(loop_, std::chrono::milliseconds(milliseconds));
}

}  // namespace millrace::test
