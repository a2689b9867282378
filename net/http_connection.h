// One HTTP/1.1 connection: requests in order, one at a time, from accept to close. Private to the server.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "net/http_exchange.h"
#include "net/http_parser.h"
#include "net/tcp_stream.h"

namespace millrace {

struct HttpConnectionLimits {
  HttpParser::Limits parser;
  std::chrono::milliseconds idle;          // between requests
  std::chrono::milliseconds header;        // first byte of a header to its last
  std::chrono::milliseconds body_silence;  // without a byte while a body is awaited
  std::chrono::milliseconds linger;        // for the client to read a last answer
  std::uint64_t discard_bytes_max;         // of a body that no handler wanted, to keep the connection
};

class HttpConnection {
 public:
  HttpConnection(TcpStreams& streams, Fd socket, std::string peer, const HttpConnectionLimits& limits);
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;
  ~HttpConnection() = default;

  // Until the client leaves, a limit is hit, or the server drains.
  [[nodiscard]] Task<void> serve(HttpHandler& handler);

  // Answers 503 to whatever comes, and closes.
  [[nodiscard]] Task<void> turn_away();

  // No further request; an idle connection ends at the next tick.
  void drain() {
    draining_ = true;
    if (idle_) stream_.interrupt();
  }
  // Tells the handler in work that nobody waits for it any more.
  void cancel() { stop_.request_stop(); }

 private:
  friend class HttpRequest;
  friend class HttpResponder;

  enum class Phase : std::uint8_t { unanswered, answered, streaming, broken };

  // Of the current request.
  struct Exchange {
    HttpHead head;
    std::string path;
    HttpQuery query;
    std::uint64_t body_bytes = 0;
    std::uint64_t body_bytes_max = 0;
    std::optional<EventLoop::TimePoint> body_due;  // of all the rest, where nobody wants it any more
    bool body_done = false;                        // read to its end
    bool body_failed = false;                      // what follows on the connection cannot be understood
    bool continue_sent = false;
    bool keep_alive = false;
    Phase phase = Phase::unanswered;
  };

  // What ends a connection before a request is complete.
  struct Refusal {
    int status = 0;  // 0: silently
    std::string reason;
  };

  [[nodiscard]] HttpParser::Event parse();
  [[nodiscard]] Task<std::optional<Refusal>> read_head();
  [[nodiscard]] std::optional<Refusal> understand_target();
  [[nodiscard]] Task<void> run_handler(HttpHandler& handler);
  [[nodiscard]] Task<Result<std::optional<std::string_view>>> next_chunk();
  [[nodiscard]] Task<bool> discard_body();
  [[nodiscard]] Task<void> refuse(Refusal refusal);
  [[nodiscard]] Task<void> linger();

  [[nodiscard]] Result<void> begin_answer(Phase phase);
  [[nodiscard]] Task<Result<void>> transmit(std::string head, std::string_view body);
  [[nodiscard]] std::string answer_head(int status, const HttpHeaders& headers, std::optional<std::uint64_t> length);
  [[nodiscard]] bool body_will_be_read() const;
  [[nodiscard]] Task<Result<void>> send(int status, HttpHeaders headers, std::string body);
  [[nodiscard]] Task<Result<void>> send_file(int status, HttpHeaders headers, Fd file, std::uint64_t offset,
                                             std::uint64_t length);
  [[nodiscard]] Task<Result<void>> start(int status, HttpHeaders headers);
  [[nodiscard]] Task<Result<void>> write(std::string piece);
  [[nodiscard]] Task<Result<void>> finish();

  const HttpConnectionLimits& limits_;
  TcpStreams& streams_;
  std::string peer_;
  HttpParser parser_;
  std::stop_source stop_;
  bool draining_ = false;
  bool idle_ = true;  // no byte of a next request has come
  Exchange exchange_;
  TcpStream stream_;  // last: closes first
};

}  // namespace millrace
