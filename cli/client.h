// The command line's view of a server: one request at a time, answered or refused.
//
//   Client client({.url = "http://127.0.0.1:8090", .token = token});
//   auto functions = client.get("/api/v1/functions");       // Json of a 2xx answer, or the server's own error
//
// Single-threaded: runs its own event loop for the time of a call.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "async/uv_event_loop.h"
#include "core/error.h"
#include "formats/json.h"
#include "net/http_client.h"

namespace millrace::cli {

struct ClientOptions {
  std::string url = "http://127.0.0.1:8090";
  std::string token;
};

class Client {
 public:
  explicit Client(ClientOptions options);

  // Any answer, whatever its status; an error only when there was none. `request.url` is a path.
  [[nodiscard]] Result<HttpClientResponse> send(HttpClientRequest request);

  [[nodiscard]] Result<Json> get(std::string path);
  [[nodiscard]] Result<Json> post(std::string path, std::string body, std::string content_type);
  [[nodiscard]] Result<Json> remove(std::string path);

 private:
  ClientOptions options_;
  UvEventLoop loop_;
  HttpClient http_;
};

// The error a non-2xx answer carries.
[[nodiscard]] Error error_of(const HttpClientResponse& response);

// One with everything else as it is by default. `path` as in Client::send().
[[nodiscard]] HttpClientRequest request_for(std::string method, std::string path);

// The first header of that name; empty when there is none.
[[nodiscard]] std::string_view header_of(const HttpClientResponse& response, std::string_view name);

// Percent-encodes everything but unreserved characters and, for keys, '/'.
[[nodiscard]] std::string encode_part(std::string_view text);
[[nodiscard]] std::string encode_key(std::string_view key);

// Whose admin-token is for the server at `url`: that of the data directory the caller said, whatever the URL; else, on
// this machine, that of the usual one. Nothing: this machine's token is not for another machine to see.
[[nodiscard]] std::optional<std::string> token_directory(std::string_view url, const std::string& said_data);

// The first line of that file; empty when it cannot be read.
[[nodiscard]] std::string token_in(const std::string& file);

}  // namespace millrace::cli
