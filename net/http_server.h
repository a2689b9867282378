// The HTTP/1.1 server: a listening socket, io threads with a loop each, and a handler that they call.
//
//   auto server = HttpServer::start({.address = "127.0.0.1", .port = 9090}, handler, metrics);
//   if (!server) return fail(server.error());
//   log.info("listening", {{"port", (*server)->port()}});
//   ...
//   co_await (*server)->stop(loop, 30s);        // no new requests; those in work may finish within this time
//
// One thread accepts and deals the sockets out in turn. The alternative, one listening socket per thread
// (SO_REUSEPORT), saves that hop, but then a second daemon of the same user binds the same port without an error and
// takes a part of the clients; besides, the kernel's hash deals a few long-lived connections out unevenly.
//
// Thread: start() and stop() where the owner lives; the handler runs on the io threads.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "async/event_loop.h"
#include "async/task.h"
#include "core/error.h"
#include "net/http_exchange.h"
#include "telemetry/metrics.h"

namespace millrace {

struct HttpServerOptions {
  std::string address = "127.0.0.1";     // numeric; "::" is every address, of both families
  std::uint16_t port = 0;                // 0: any free one
  std::size_t io_threads = 0;            // 0: as many as cores
  std::size_t connections_max = 10'000;  // further ones get 503
  std::size_t header_bytes_max = 16 << 10;
  std::chrono::milliseconds idle{60'000};           // between requests
  std::chrono::milliseconds header{5'000};          // from the first byte of a header to its last
  std::chrono::milliseconds body_silence{30'000};   // without a byte of a body that is awaited
  std::chrono::milliseconds write_silence{30'000};  // without a client taking a byte of its answer
  std::chrono::milliseconds linger{1'000};          // for a client to read an answer that closes the connection
  std::uint64_t discard_bytes_max = 256 << 10;      // of a body that nobody wanted, to keep the connection
};

class HttpServer {
 public:
  // `unavailable` with address and remedy when the port is taken, `permission_denied` for a privileged one,
  // `invalid_argument` for an address that is none. The handler outlives the server.
  [[nodiscard]] static Result<std::unique_ptr<HttpServer>> start(HttpServerOptions options, HttpHandler& handler,
                                                                 Metrics& metrics);

  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  ~HttpServer();  // like stop() without time; blocks for a moment

  [[nodiscard]] std::uint16_t port() const;

  // Takes no more connections and no further requests on those there are. Handlers in work may go on for `drain`, then
  // their stop tokens are requested, and after half a second more they are dropped. Once.
  [[nodiscard]] Task<void> stop(EventLoop& home, std::chrono::milliseconds drain);

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
