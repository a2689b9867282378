#include "net/http_exchange.h"

#include <algorithm>
#include <utility>

#include "net/http_connection.h"

namespace millrace {

const std::string& HttpRequest::method() const {
  return connection_.exchange_.head.method;
}

const std::string& HttpRequest::target() const {
  return connection_.exchange_.head.target;
}

std::string_view HttpRequest::raw_path() const {
  const std::string_view whole = target();
  return whole.substr(0, whole.find('?'));
}

const std::string& HttpRequest::path() const {
  return connection_.exchange_.path;
}

const HttpQuery& HttpRequest::query() const {
  return connection_.exchange_.query;
}

std::optional<std::string_view> HttpRequest::query(std::string_view name) const {
  const auto found = std::ranges::find(query(), name, &HttpQuery::value_type::first);
  if (found == query().end()) return std::nullopt;
  return found->second;
}

const HttpHeaders& HttpRequest::headers() const {
  return connection_.exchange_.head.headers;
}

std::optional<std::uint64_t> HttpRequest::content_length() const {
  return connection_.exchange_.head.content_length;
}

const std::string& HttpRequest::peer() const {
  return connection_.peer_;
}

std::stop_token HttpRequest::stop_token() const {
  return connection_.stop_.get_token();
}

EventLoop& HttpRequest::loop() const {
  return connection_.streams_.loop();
}

Task<Result<std::optional<std::string_view>>> HttpRequest::next_chunk() {
  return connection_.next_chunk();
}

Task<Result<std::string>> HttpRequest::read_body(std::size_t bytes_max) {
  limit_body(bytes_max);
  std::string body;
  for (;;) {
    const auto chunk = co_await next_chunk();
    if (!chunk) co_return fail(chunk.error());
    if (!*chunk) co_return body;
    // Grown by what has come, never by what was announced: an announcement costs its sender nothing.
    body.append(**chunk);
  }
}

void HttpRequest::limit_body(std::uint64_t bytes_max) {
  connection_.exchange_.body_bytes_max = bytes_max;
}

Task<Result<void>> HttpResponder::send(int status, HttpHeaders headers, std::string body) {
  return connection_.send(status, std::move(headers), std::move(body));
}

Task<Result<void>> HttpResponder::send_file(int status, HttpHeaders headers, Fd file, std::uint64_t offset,
                                            std::uint64_t length) {
  return connection_.send_file(status, std::move(headers), std::move(file), offset, length);
}

Task<Result<void>> HttpResponder::start(int status, HttpHeaders headers) {
  return connection_.start(status, std::move(headers));
}

Task<Result<void>> HttpResponder::write(std::string piece) {
  return connection_.write(std::move(piece));
}

Task<Result<void>> HttpResponder::finish() {
  return connection_.finish();
}

}  // namespace millrace
