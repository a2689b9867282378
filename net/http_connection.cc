#include "net/http_connection.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "net/file_sender.h"

namespace millrace {
namespace {

bool has_body(int status) {
  return status >= 200 && status != 204 && status != 304;
}

// A value must not end its line: what follows would be read as a field, or as another answer.
void append_field(std::string& text, std::string_view name, std::string_view value) {
  text.append(name).append(": ");
  for (const char c : value) text += c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
  text += "\r\n";
}

bool is_ours(std::string_view name) {
  return std::ranges::any_of(
      std::to_array<std::string_view>({"Content-Length", "Transfer-Encoding", "Connection", "Date"}),
      [name](std::string_view ours) { return http_names_equal(name, ours); });
}

}  // namespace

HttpConnection::HttpConnection(TcpStreams& streams, Fd socket, std::string peer, const HttpConnectionLimits& limits)
    : limits_(limits),
      streams_(streams),
      peer_(std::move(peer)),
      parser_(limits.parser),
      stream_(streams, std::move(socket)) {
  stream_.on_end([this] { cancel(); });
}

Task<void> HttpConnection::serve(HttpHandler& handler) {
  for (bool again = true; again;) {
    const auto refusal = co_await read_head();
    if (refusal) {
      co_await refuse(*refusal);
      co_return;
    }
    co_await run_handler(handler);
    again = co_await discard_body();
    parser_.reset();
  }
  if (exchange_.phase == Phase::answered) co_await linger();
}

Task<void> HttpConnection::turn_away() {
  co_await refuse({503, "too many connections"});
}

HttpParser::Event HttpConnection::parse() {
  std::string_view input = stream_.input();
  const std::size_t before = input.size();
  const auto event = parser_.next(input);
  stream_.consume(before - input.size());
  return event;
}

// The idle time runs until the first byte; the header's time from there on, however the bytes drip.
Task<std::optional<HttpConnection::Refusal>> HttpConnection::read_head() {
  std::optional<EventLoop::TimePoint> due;
  for (;;) {
    if (!due && !stream_.input().empty()) due = EventLoop::Clock::now() + limits_.header;
    const auto event = parse();
    if (event == HttpParser::Event::head) break;
    if (event == HttpParser::Event::bad) co_return Refusal{parser_.status(), std::string(parser_.reason())};

    auto limit = limits_.idle;
    if (due) limit = std::chrono::ceil<std::chrono::milliseconds>(*due - EventLoop::Clock::now());
    if (limit.count() <= 0) co_return Refusal{408, "the header took too long"};
    idle_ = !due;
    if (idle_ && draining_) co_return Refusal{};
    const auto got = co_await stream_.read_more(limit);
    idle_ = false;
    if (got == TcpStream::Input::end) co_return Refusal{};
    if (got == TcpStream::Input::silence) co_return due ? Refusal{408, "the header took too long"} : Refusal{};
  }
  co_return understand_target();
}

std::optional<HttpConnection::Refusal> HttpConnection::understand_target() {
  exchange_ = Exchange{};
  exchange_.head = std::move(parser_.head());
  exchange_.keep_alive = exchange_.head.keep_alive;
  exchange_.body_done = parser_.finished();
  exchange_.body_bytes_max = ~std::uint64_t{0};
  const std::string_view target = exchange_.head.target;
  const std::size_t mark = std::min(target.find('?'), target.size());
  auto path = percent_decode(target.substr(0, mark));
  if (!path) return Refusal{400, "the path: " + path.error().message};
  exchange_.path = std::move(*path);
  if (mark == target.size()) return std::nullopt;
  auto query = parse_query(target.substr(mark + 1));
  if (!query) return Refusal{400, "the query: " + query.error().message};
  exchange_.query = std::move(*query);
  return std::nullopt;
}

Task<void> HttpConnection::run_handler(HttpHandler& handler) {
  HttpRequest request(*this);
  HttpResponder responder(*this);
  co_await handler.handle(request, responder);
  if (exchange_.phase == Phase::unanswered) {
    const auto sent =
        co_await send(500, {{"Content-Type", "text/plain"}}, "the request was not answered, a bug of this server\n");
    if (!sent) exchange_.phase = Phase::broken;
  }
  if (exchange_.phase == Phase::streaming) exchange_.phase = Phase::broken;
}

Task<Result<std::optional<std::string_view>>> HttpConnection::next_chunk() {
  using Chunk = std::optional<std::string_view>;
  Exchange& exchange = exchange_;
  if (exchange.body_done) co_return Chunk();
  if (exchange.body_failed) co_return fail(Errc::failed_precondition, "the body has already failed");
  const auto too_large =
      fail(Errc::too_large, "the body is larger than " + std::to_string(exchange.body_bytes_max) + " bytes");
  if (exchange.head.content_length.value_or(0) > exchange.body_bytes_max) co_return too_large;
  if (exchange.head.expects_continue && !std::exchange(exchange.continue_sent, true)) {
    const auto sent = co_await stream_.write("HTTP/1.1 100 Continue\r\n\r\n");
    if (!sent) co_return fail(sent.error());
  }
  for (;;) {
    const auto event = parse();
    if (event == HttpParser::Event::body) {
      exchange.body_bytes += parser_.body().size();
      if (exchange.body_bytes <= exchange.body_bytes_max) co_return Chunk(parser_.body());
      exchange.body_failed = true;
      co_return too_large;
    }
    if (event == HttpParser::Event::done) {
      exchange.body_done = true;
      co_return Chunk();
    }
    if (event == HttpParser::Event::bad) {
      exchange.body_failed = true;
      co_return fail(Errc::invalid_argument, std::string(parser_.reason()));
    }
    auto patience = limits_.body_silence;
    if (exchange.body_due) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*exchange.body_due - EventLoop::Clock::now());
      patience = std::clamp(left, std::chrono::milliseconds(0), patience);
    }
    if (patience.count() > 0) {
      const auto got = co_await stream_.read_more(patience);
      if (got == TcpStream::Input::more) continue;
      if (got == TcpStream::Input::end) {
        exchange.body_failed = true;
        cancel();
        co_return fail(Errc::cancelled, "the client left before the end of the body");
      }
    }
    exchange.body_failed = true;
    cancel();
    co_return fail(Errc::deadline_exceeded, "the client sent nothing of the body for too long");
  }
}

// True when the connection can carry another request.
Task<bool> HttpConnection::discard_body() {
  if (exchange_.phase != Phase::answered || !exchange_.keep_alive) co_return false;
  exchange_.body_bytes_max = ~std::uint64_t{0};
  // A client that sends a byte now and then would hold a connection for hours otherwise, and needs no token for it.
  exchange_.body_due = EventLoop::Clock::now() + limits_.body_silence;
  for (;;) {
    const auto chunk = co_await next_chunk();
    if (!chunk) co_return false;
    if (!*chunk) co_return true;
  }
}

Task<void> HttpConnection::refuse(Refusal refusal) {
  if (refusal.status == 0) co_return;
  exchange_ = Exchange{};
  exchange_.body_failed = true;
  refusal.reason += '\n';
  HttpHeaders headers{{"Content-Type", "text/plain"}};
  if (refusal.status == 503) headers.add("Retry-After", "1");
  const auto sent = co_await send(refusal.status, std::move(headers), std::move(refusal.reason));
  if (sent) co_await linger();
}

// Closing a socket with unread input resets the connection, and the reset may overtake the answer. So our side is shut
// first, and what still comes is taken and dropped, for a while.
Task<void> HttpConnection::linger() {
  stream_.shut_down();
  const auto due = EventLoop::Clock::now() + limits_.linger;
  for (;;) {
    stream_.consume(stream_.input().size());
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - EventLoop::Clock::now());
    if (left.count() <= 0) co_return;
    const auto got = co_await stream_.read_more(left);
    if (got != TcpStream::Input::more) co_return;
  }
}

Result<void> HttpConnection::begin_answer(Phase phase) {
  if (exchange_.phase != Phase::unanswered) {
    return fail(Errc::failed_precondition, "the request has been answered already");
  }
  exchange_.phase = phase;
  return {};
}

bool HttpConnection::body_will_be_read() const {
  if (exchange_.body_done) return true;
  if (exchange_.body_failed || !exchange_.head.content_length) return false;
  if (exchange_.head.expects_continue && !exchange_.continue_sent) return false;  // it may come, or not
  return *exchange_.head.content_length - exchange_.body_bytes <= limits_.discard_bytes_max;
}

std::string HttpConnection::answer_head(int status, const HttpHeaders& headers, std::optional<std::uint64_t> length) {
  exchange_.keep_alive = exchange_.keep_alive && !draining_ && body_will_be_read();
  std::string head;
  head.reserve(256);
  head.append("HTTP/1.1 ").append(std::to_string(status)).append(" ").append(http_reason(status)).append("\r\n");
  append_field(head, "Date", http_date(streams_.loop().wall_now()));
  for (const auto& [name, value] : headers) {
    if (!is_ours(name)) append_field(head, name, value);
  }
  if (has_body(status)) {
    if (length) append_field(head, "Content-Length", std::to_string(*length));
    if (!length && exchange_.head.version == 11) append_field(head, "Transfer-Encoding", "chunked");
  }
  if (!exchange_.keep_alive) append_field(head, "Connection", "close");
  if (exchange_.keep_alive && exchange_.head.version == 10) append_field(head, "Connection", "keep-alive");
  head += "\r\n";
  return head;
}

Task<Result<void>> HttpConnection::transmit(std::string head, std::string_view body) {
  auto sent = co_await stream_.write(std::move(head), body);
  if (!sent) {
    exchange_.phase = Phase::broken;
    cancel();
  }
  co_return sent;
}

Task<Result<void>> HttpConnection::send(int status, HttpHeaders headers, std::string body) {
  if (auto begun = begin_answer(Phase::answered); !begun) co_return begun;
  std::string head = answer_head(status, headers, body.size());
  const bool bare = exchange_.head.method == "HEAD" || !has_body(status);
  auto sent = co_await transmit(std::move(head), bare ? std::string_view() : std::string_view(body));
  co_return sent;
}

Task<Result<void>> HttpConnection::send_file(int status, HttpHeaders headers, Fd file, std::uint64_t offset,
                                             std::uint64_t length) {
  if (auto begun = begin_answer(Phase::answered); !begun) co_return begun;
  auto sent = co_await transmit(answer_head(status, headers, length), {});
  if (!sent || exchange_.head.method == "HEAD" || !has_body(status)) co_return sent;
  auto copied = co_await send_file_range(stream_, streams_.loop(), std::move(file), offset, length);
  if (!copied) {
    exchange_.phase = Phase::broken;
    cancel();
  }
  co_return copied;
}

Task<Result<void>> HttpConnection::start(int status, HttpHeaders headers) {
  if (auto begun = begin_answer(Phase::streaming); !begun) co_return begun;
  if (exchange_.head.version == 10) exchange_.keep_alive = false;  // the end of the connection is the end of the body
  auto sent = co_await transmit(answer_head(status, headers, std::nullopt), {});
  co_return sent;
}

Task<Result<void>> HttpConnection::write(std::string piece) {
  if (exchange_.phase != Phase::streaming) co_return fail(Errc::failed_precondition, "no answer is being streamed");
  if (piece.empty() || exchange_.head.method == "HEAD") co_return Result<void>();
  std::string size;
  if (exchange_.head.version == 11) {
    std::array<char, 16> digits{};
    const char* end = std::to_chars(digits.data(), digits.data() + digits.size(), piece.size(), 16).ptr;
    size = std::string(static_cast<const char*>(digits.data()), end) + "\r\n";
    piece += "\r\n";
  }
  auto sent = co_await transmit(std::move(size), piece);
  co_return sent;
}

Task<Result<void>> HttpConnection::finish() {
  if (exchange_.phase != Phase::streaming) co_return fail(Errc::failed_precondition, "no answer is being streamed");
  exchange_.phase = Phase::answered;
  if (exchange_.head.version == 10 || exchange_.head.method == "HEAD") co_return Result<void>();
  auto sent = co_await transmit("0\r\n\r\n", {});
  co_return sent;
}

}  // namespace millrace
