#include "cli/client.h"

#include <arpa/inet.h>

#include <array>
#include <fstream>
#include <optional>
#include <utility>

#include "async/task_group.h"
#include "cli/commands.h"

namespace millrace::cli {
namespace {

constexpr std::size_t kAnswerBytesMax = 64 << 20;

Task<void> ask(HttpClient& http, HttpClientRequest request, std::optional<Result<HttpClientResponse>>& answer,
               UvEventLoop& loop) {
  answer = co_await http.send(std::move(request));
  loop.stop();
}

Result<Json> json_of(const Result<HttpClientResponse>& response) {
  if (!response) return fail(response.error());
  if (response->status < 200 || response->status > 299) return fail(error_of(*response));
  if (response->body.empty()) return Json();
  return parse_json(response->body, kAnswerBytesMax);
}

// Nobody else than this machine answers there.
bool is_loopback(std::string_view url) {
  const auto scheme = url.find("://");
  auto host = scheme == std::string_view::npos ? url : url.substr(scheme + 3);
  host = host.substr(0, host.find_first_of("/?#"));
  if (host.find('@') != std::string_view::npos) return false;  // what stands before it is not the host
  if (host.starts_with('[')) return host == "[::1]" || host.starts_with("[::1]:");
  host = host.substr(0, host.find(':'));
  if (host == "localhost") return true;
  const std::string text(host);
  in_addr address{};
  return inet_pton(AF_INET, text.c_str(), &address) == 1 && ntohl(address.s_addr) >> 24 == 127;
}

}  // namespace

Client::Client(ClientOptions options) : options_(std::move(options)), http_(loop_, {}) {
  while (options_.url.ends_with('/')) options_.url.pop_back();
}

Result<HttpClientResponse> Client::send(HttpClientRequest request) {
  request.url = options_.url + request.url;
  request.response_bytes_max = kAnswerBytesMax;
  if (!options_.token.empty()) request.headers.add("Authorization", "Bearer " + options_.token);
  std::optional<Result<HttpClientResponse>> answer;
  TaskGroup group(loop_);
  group.spawn(ask(http_, std::move(request), answer, loop_));
  // A stop() of a request that was answered at once, without a turn of the loop, ends a later run() early.
  while (!answer) loop_.run();
  if (!*answer && (*answer).error().code == Errc::unavailable) {
    return fail(
        (*answer).error().with("no server at " + options_.url + " (start one with `millrace serve`, or say --url)"));
  }
  return std::move(*answer);
}

Result<Json> Client::get(std::string path) {
  return json_of(send(request_for("GET", std::move(path))));
}

Result<Json> Client::post(std::string path, std::string body, std::string content_type) {
  HttpClientRequest request = request_for("POST", std::move(path));
  request.headers.add("Content-Type", std::move(content_type));
  request.body = std::move(body);
  return json_of(send(std::move(request)));
}

Result<Json> Client::remove(std::string path) {
  return json_of(send(request_for("DELETE", std::move(path))));
}

HttpClientRequest request_for(std::string method, std::string path) {
  HttpClientRequest request;
  request.method = std::move(method);
  request.url = std::move(path);
  return request;
}

Error error_of(const HttpClientResponse& response) {
  const auto body = parse_json(response.body, kAnswerBytesMax);
  const Json* error = body ? body->find("error") : nullptr;
  if (error == nullptr) {
    return {.code = Errc::internal, .message = "the server answered " + std::to_string(response.status)};
  }
  return {.code = errc_from_name(error->string_or("code", "internal")), .message = error->string_or("message", "")};
}

std::string_view header_of(const HttpClientResponse& response, std::string_view name) {
  return response.headers.find(name).value_or("");
}

std::string encode_part(std::string_view text) {
  return percent_encode(text, Slash::escape);
}
std::string encode_key(std::string_view key) {
  return percent_encode(key, Slash::keep);
}

std::optional<std::string> token_directory(std::string_view url, const std::string& said_data) {
  if (!said_data.empty()) return said_data;
  if (is_loopback(url)) return kDefaultData;
  return std::nullopt;
}

std::string token_in(const std::string& path) {
  std::ifstream file(path);
  std::string token;
  std::getline(file, token);
  return token;
}

}  // namespace millrace::cli
