// One request and its answer, as a handler sees them. Everything happens on the io thread that owns the connection;
// what belongs to another loop is asked there (async/call_on.h).
//
//   class Echo final : public HttpHandler {
//     Task<void> handle(HttpRequest& request, HttpResponder& responder) override {
//       const auto body = co_await request.read_body(1 << 20);
//       const int status = body ? 200 : http_status_of(body.error().code);
//       auto sent = co_await responder.send(status, {}, body ? *body : body.error().message);
//     }
//   };
//
// A handler answers once. One that returns without an answer, or with a streamed one unfinished, has a bug: the client
// gets 500, or sees the connection break off. A body that was not read is discarded, or the connection is closed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "async/event_loop.h"
#include "async/task.h"
#include "core/error.h"
#include "core/fd.h"
#include "net/http_message.h"

namespace millrace {

class HttpConnection;

class HttpRequest {
 public:
  explicit HttpRequest(HttpConnection& connection) : connection_(connection) {}
  HttpRequest(const HttpRequest&) = delete;
  HttpRequest& operator=(const HttpRequest&) = delete;

  [[nodiscard]] const std::string& method() const;  // GET HEAD POST PUT PATCH DELETE OPTIONS
  [[nodiscard]] const std::string& target() const;  // path and query as sent
  [[nodiscard]] std::string_view raw_path() const;  // as sent, for signatures
  [[nodiscard]] const std::string& path() const;    // decoded; an encoded slash is a slash here
  [[nodiscard]] const HttpQuery& query() const;     // decoded, in order
  [[nodiscard]] std::optional<std::string_view> query(std::string_view name) const;  // the first of that name
  [[nodiscard]] const HttpHeaders& headers() const;
  [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const { return headers().find(name); }
  [[nodiscard]] std::optional<std::uint64_t> content_length() const;  // absent: chunked, or no body
  [[nodiscard]] const std::string& peer() const;                      // "127.0.0.1:50312", for logs

  // Requested when the client leaves or the server gives up on it. On this io thread only; call_on carries it over.
  [[nodiscard]] std::stop_token stop_token() const;
  [[nodiscard]] EventLoop& loop() const;  // this io thread's

  // The next piece of the body, at most 64 KiB, nothing at its end. Valid until the next call. While nobody calls, the
  // client is held back. `too_large` beyond limit_body(), `cancelled` when the client left, `deadline_exceeded` when it
  // fell silent, `invalid_argument` when the body is malformed; the connection is closed after the answer then.
  [[nodiscard]] Task<Result<std::optional<std::string_view>>> next_chunk();

  // The whole body. `too_large` beyond `bytes_max`.
  [[nodiscard]] Task<Result<std::string>> read_body(std::size_t bytes_max);

  // Before the first piece; a body that says to be larger is refused before any of it is read.
  void limit_body(std::uint64_t bytes_max);

 private:
  HttpConnection& connection_;
};

// Content-Length, Transfer-Encoding, Connection and Date are the server's business. Line breaks in header values become
// spaces. All fail with `unavailable` when the client is gone, `failed_precondition` for a second answer.
class HttpResponder {
 public:
  explicit HttpResponder(HttpConnection& connection) : connection_(connection) {}
  HttpResponder(const HttpResponder&) = delete;
  HttpResponder& operator=(const HttpResponder&) = delete;

  // The whole answer. To HEAD the same, without its body.
  [[nodiscard]] Task<Result<void>> send(int status, HttpHeaders headers, std::string body);

  // `length` bytes of a regular file from `offset`. A file that turns out shorter breaks the connection off: the client
  // must not take it for whole.
  [[nodiscard]] Task<Result<void>> send_file(int status, HttpHeaders headers, Fd file, std::uint64_t offset,
                                             std::uint64_t length);

  // A stream of unknown length: start, write as often as wanted, finish. write() returns when the kernel has taken the
  // piece, so a slow client holds the writer back.
  [[nodiscard]] Task<Result<void>> start(int status, HttpHeaders headers);
  [[nodiscard]] Task<Result<void>> write(std::string piece);
  [[nodiscard]] Task<Result<void>> finish();

 private:
  HttpConnection& connection_;
};

class HttpHandler {
 public:
  HttpHandler() = default;
  HttpHandler(const HttpHandler&) = delete;
  HttpHandler& operator=(const HttpHandler&) = delete;
  virtual ~HttpHandler() = default;

  // Called on every io thread, many at a time. Dropped, wherever it waits, when the server stops for good.
  virtual Task<void> handle(HttpRequest& request, HttpResponder& responder) = 0;
};

}  // namespace millrace
