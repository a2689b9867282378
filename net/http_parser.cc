// Beast 1.81 asserts that at least five bytes are there when it looks at a last chunk again; with a body that consists
// of that chunk alone it may be four, which it handles well. A client must not be able to end a build with assertions.
#define BOOST_DISABLE_ASSERTS  // NOLINT(readability-identifier-naming): Boost's name

#include "net/http_parser.h"

#include <algorithm>
#include <array>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/error.hpp>
#include <optional>
#include <string>

namespace millrace {
namespace {

namespace http = boost::beast::http;
using ErrorCode = boost::beast::error_code;
using View = boost::beast::string_view;

constexpr auto kMethods = std::to_array<std::string_view>({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"});

std::string_view view_of(View text) {
  return {text.data(), text.size()};
}

// A line feed that no carriage return precedes. Beast waits for ever on one in the framing of chunks.
bool has_bare_line_feed(std::string_view text) {
  for (std::size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    if (at == 0 || text[at - 1] != '\r') return true;
  }
  return false;
}

// "http://host/path?query" is "/path?query": proxies send this form, and a server has to take it.
std::optional<std::string> origin_form(std::string_view target, std::string_view method) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (target.size() < scheme.size() || !http_names_equal(target.substr(0, scheme.size()), scheme)) continue;
    target.remove_prefix(scheme.size());
    const std::size_t path = target.find_first_of("/?");
    if (path == 0 || target.empty()) return std::nullopt;  // no host
    if (path == std::string_view::npos) return "/";
    return (target[path] == '?' ? "/" : "") + std::string(target.substr(path));
  }
  if (target.starts_with('/') || (target == "*" && method == "OPTIONS")) return std::string(target);
  return std::nullopt;
}

struct Problem {
  int status;
  std::string_view reason;
};

Problem problem_of(const ErrorCode& error) {
  if (error == http::error::header_limit) return {431, "the header is too large"};
  if (error == http::error::bad_version) return {400, "expected a request line that ends in HTTP/1.1 or HTTP/1.0"};
  if (error == http::error::bad_chunk || error == http::error::bad_chunk_extension) {
    return {400, "the chunked body is malformed"};
  }
  if (error == http::error::bad_content_length || error == http::error::multiple_content_length) {
    return {400, "Content-Length is malformed or contradicts the rest of the header"};
  }
  if (error == http::error::bad_transfer_encoding) return {400, "Transfer-Encoding is malformed"};
  return {400, "the request is malformed"};
}

// One message. Fields go straight into our own head.
class Message final : public http::basic_parser<true> {
 public:
  Message() {
    body_limit(boost::none);  // bounded by whoever reads the body
    eager(false);             // one event per call
  }

  HttpHead head;
  std::optional<Problem> problem;
  std::string_view body;

 private:
  void on_request_impl(http::verb, View method, View target, int version, ErrorCode& error) override {
    head.version = version;
    head.method = std::string(view_of(method));
    if (std::ranges::find(kMethods, head.method) == kMethods.end()) {
      return refuse(error, {501, "the method is not known"});
    }
    auto origin = origin_form(view_of(target), head.method);
    if (!origin) return refuse(error, {400, "the target is neither a path nor an http URL"});
    head.target = std::move(*origin);
  }
  void on_response_impl(int, View, int, ErrorCode&) override {}

  void on_field_impl(http::field, View name, View value, ErrorCode&) override {
    if (in_body_) return;  // trailers say nothing that we want to know
    head.headers.add(std::string(view_of(name)), std::string(view_of(value)));
  }

  void on_header_impl(ErrorCode& error) override {
    in_body_ = true;
    const auto codings = head.headers.count("Transfer-Encoding");
    const bool chunked_only =
        codings == 1 && head.version == 11 && http_names_equal(*head.headers.find("Transfer-Encoding"), "chunked");
    if (codings != 0 && !chunked_only) return refuse(error, {400, "Transfer-Encoding can only be 'chunked'"});
    if (head.headers.count("Content-Length") > 1) return refuse(error, {400, "more than one Content-Length"});
    const auto hosts = head.headers.count("Host");
    if (hosts > 1 || (hosts == 0 && head.version == 11)) return refuse(error, {400, "expected one Host"});
    const auto expect = head.headers.find("Expect");
    head.expects_continue = head.version == 11 && expect && http_names_equal(*expect, "100-continue");
    if (expect && head.version == 11 && !head.expects_continue) return refuse(error, {417, "unknown expectation"});
    head.keep_alive = keep_alive();
    head.chunked = chunked_only;
    if (const auto length = content_length()) head.content_length = *length;
  }

  void on_body_init_impl(const boost::optional<std::uint64_t>&, ErrorCode&) override {}
  std::size_t on_body_impl(View part, ErrorCode&) override {
    body = view_of(part);
    return part.size();
  }
  // The library takes any byte within a quoted value. To a reader that ends lines at a bare line feed, the chunk would
  // begin in the middle of it.
  void on_chunk_header_impl(std::uint64_t, View extensions, ErrorCode& error) override {
    const auto is_control = [](char c) { return (c >= 0 && c < ' ' && c != '\t') || c == '\x7f'; };
    if (std::ranges::any_of(view_of(extensions), is_control)) refuse(error, {400, "the chunked body is malformed"});
  }
  std::size_t on_chunk_body_impl(std::uint64_t, View part, ErrorCode&) override {
    body = view_of(part);
    return part.size();
  }
  void on_finish_impl(ErrorCode&) override {}

  void refuse(ErrorCode& error, Problem found) {
    problem = found;
    error = http::error::bad_value;  // any: `problem` says what it is
  }

  bool in_body_ = false;
};

}  // namespace

class HttpParser::Impl {
 public:
  explicit Impl(Limits limits) : limits_(limits) { reset(); }

  void reset() {
    message_.emplace();
    message_->header_limit(static_cast<std::uint32_t>(limits_.header_bytes_max));
    skipped_line_ = false;
    head_given_ = false;
    framing_bytes_ = 0;
    problem_.reset();
  }

  Event next(std::string_view& input) {
    if (problem_) return Event::bad;
    for (;;) {
      if (finished()) return Event::done;
      if (input.empty() || !skip_empty_line(input)) return Event::more;
      ErrorCode error;
      message_->body = {};
      const std::size_t taken = message_->put({input.data(), input.size()}, error);
      const std::string_view used = input.substr(0, taken);
      input.remove_prefix(taken);

      if (error && error != http::error::need_more) return bad(message_->problem.value_or(problem_of(error)));
      if (!head_given_ && (used.find("\r\n ") != used.npos || used.find("\r\n\t") != used.npos)) {
        return bad({400, "a header line is folded"});
      }
      // The library bounds what it has not understood yet; what comes in small understood pieces is counted here.
      framing_bytes_ = message_->body.empty() ? framing_bytes_ + taken : 0;
      if (framing_bytes_ > limits_.header_bytes_max) return bad_size();
      if (error == http::error::need_more) {
        if (input.size() + framing_bytes_ > limits_.header_bytes_max) return bad_size();
        if (head_given_ && has_bare_line_feed(input)) return bad({400, "the chunked body is malformed"});
        return Event::more;
      }
      if (!head_given_ && message_->is_header_done()) {
        head_given_ = true;
        framing_bytes_ = 0;
        return Event::head;
      }
      if (!message_->body.empty()) return Event::body;
    }
  }

  [[nodiscard]] bool finished() const { return head_given_ && message_->is_done(); }
  [[nodiscard]] HttpHead& head() { return message_->head; }
  [[nodiscard]] std::string_view body() const { return message_->body; }
  [[nodiscard]] const Problem& problem() const { return *problem_; }

 private:
  // RFC 9112 section 2.2: one empty line before a request is passed over; old clients send it behind a body. False: it
  // may be one, the next byte tells.
  bool skip_empty_line(std::string_view& input) {
    if (head_given_ || framing_bytes_ != 0 || skipped_line_ || input.front() != '\r') return true;
    if (input.size() == 1) return false;
    if (!input.starts_with("\r\n")) return true;
    input.remove_prefix(2);
    skipped_line_ = true;
    return !input.empty();
  }

  Event bad(Problem problem) {
    problem_ = problem;
    return Event::bad;
  }
  Event bad_size() {
    return head_given_ ? bad({400, "the framing of the chunked body is too large"})
                       : bad({431, "the header is too large"});
  }

  Limits limits_;
  std::optional<Message> message_;
  bool skipped_line_ = false;
  bool head_given_ = false;
  std::size_t framing_bytes_ = 0;  // taken since the message's start or the last byte of its body
  std::optional<Problem> problem_;
};

HttpParser::HttpParser(Limits limits) : impl_(std::make_unique<Impl>(limits)) {}
HttpParser::~HttpParser() = default;

HttpParser::Event HttpParser::next(std::string_view& input) {
  return impl_->next(input);
}
bool HttpParser::finished() const {
  return impl_->finished();
}
HttpHead& HttpParser::head() {
  return impl_->head();
}
std::string_view HttpParser::body() const {
  return impl_->body();
}
int HttpParser::status() const {
  return impl_->problem().status;
}
std::string_view HttpParser::reason() const {
  return impl_->problem().reason;
}
void HttpParser::reset() {
  impl_->reset();
}

}  // namespace millrace
