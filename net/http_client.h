// An HTTP client on a loop (libcurl's multi interface): for the command line and for stores and brokers behind HTTP.
//
//   HttpClient client(loop, {});
//   auto response = co_await client.send({.method = "POST", .url = url, .body = json, .total = 30s});
//   if (!response) return fail(response.error());          // nobody answered
//   if (response->status != 200) ...                       // any answer is a success here
//
// Redirects are not followed: an answer of another host than the one that was asked is for the caller to judge.
// Loopback addresses are never asked through a proxy, others as the environment says. Certificates are verified.
//
// Thread: the loop's. Files are read and written on it, 64 KiB at a time. Connections are kept and used again.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "async/event_loop.h"
#include "async/task.h"
#include "core/error.h"
#include "net/http_message.h"

namespace millrace {

// A part of a file; the descriptor is lent and read at its own offset, which it keeps.
struct HttpFileBody {
  int fd = -1;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
};

struct HttpProgress {
  std::uint64_t sent_bytes = 0;
  std::uint64_t received_bytes = 0;
  std::uint64_t receive_total_bytes = 0;  // 0: not known
};

struct HttpClientRequest {
  std::string method = "GET";
  std::string url;  // http or https
  HttpHeaders headers;
  std::string body;
  HttpFileBody body_file;  // instead of `body`, where fd is not -1

  // Where the body of the answer goes: into memory, to a file (the descriptor is lent, written at its position), or
  // piece by piece to a function, whose pieces are gone when it returns. The latter two only get a 2xx; others go to
  // memory.
  std::size_t response_bytes_max = 16 << 20;  // in memory
  int response_fd = -1;
  std::function<void(std::string_view)> on_piece;

  std::function<void(const HttpProgress&)> on_progress;  // as bytes move
  std::chrono::milliseconds connect{10'000};
  std::chrono::milliseconds total{0};  // for everything; 0: as long as it takes
};

struct HttpClientResponse {
  int status = 0;
  HttpHeaders headers;
  std::string body;
};

class HttpClient {
 public:
  struct Options {
    std::size_t connections_max = 64;  // open at the same time; further requests wait
    std::size_t response_header_bytes_max = 64 << 10;
    std::string user_agent = "millrace";
  };

  HttpClient(EventLoop& loop, Options options);
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;
  ~HttpClient();  // after the tasks of send()

  // `unavailable` when the host cannot be reached or breaks off, `deadline_exceeded`, `cancelled`, `too_large` for an
  // answer beyond its limit, `invalid_argument` for what cannot be sent, `failed_precondition` for a certificate that
  // cannot be verified; errors of the file. Messages name method and URL without query and credentials.
  [[nodiscard]] Task<Result<HttpClientResponse>> send(HttpClientRequest request, std::stop_token stop = {});

 private:
  class Multi;
  std::unique_ptr<Multi> multi_;
};

}  // namespace millrace
