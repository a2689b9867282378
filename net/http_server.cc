#include "net/http_server.h"

#include <algorithm>
#include <atomic>
#include <optional>
#include <set>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "async/one_shot.h"
#include "async/task_group.h"
#include "net/http_connection.h"
#include "net/listener.h"
#include "net/sigpipe.h"

namespace millrace {
namespace {

constexpr auto kTimeToCancel = std::chrono::milliseconds(500);
// Connections beyond the limit that are told so at the same time; beyond that they are closed without a word.
constexpr std::size_t kTurnedAwayMax = 64;

// What all io threads share.
struct Shared {
  HttpHandler& handler;
  HttpConnectionLimits limits;
  TcpStreams::Options streams;
  std::size_t connections_max;
  Gauge& open;
  Counter& refused;
  std::atomic<std::size_t> connections = 0;
};

// Deadlines are looked at in steps; short ones, as tests have, in shorter steps.
std::chrono::milliseconds tick_of(const HttpServerOptions& options) {
  const auto shortest =
      std::min({options.idle, options.header, options.body_silence, options.write_silence, options.linger});
  return std::clamp(shortest / 4, std::chrono::milliseconds(1), std::chrono::milliseconds(250));
}

// The connections of one io thread. Made and destroyed on it.
class IoRoom {
 public:
  IoRoom(UvEventLoop& loop, Shared& shared)
      : shared_(shared), streams_(loop, shared.streams), serving_(loop), drained_(loop) {}

  void take(Fd socket, std::string peer, bool turn_away) {
    if (draining_) return gone();
    serving_.spawn(serve(std::move(socket), std::move(peer), turn_away));
  }

  void drain(EventLoop::Callback done) {
    draining_ = true;
    for (HttpConnection* connection : connections_) connection->drain();
    streams_.tick();
    drained_.spawn(wait(std::move(done)));
  }

  void cancel() {
    for (HttpConnection* connection : connections_) connection->cancel();
  }

 private:
  // Among the connections as long as it serves.
  class Presence {
   public:
    Presence(IoRoom& room, HttpConnection& connection) : room_(room), connection_(connection) {
      room_.connections_.insert(&connection_);
    }
    Presence(const Presence&) = delete;
    Presence& operator=(const Presence&) = delete;
    ~Presence() {
      room_.connections_.erase(&connection_);
      room_.gone();
    }

   private:
    IoRoom& room_;
    HttpConnection& connection_;
  };

  Task<void> serve(Fd socket, std::string peer, bool turn_away) {
    HttpConnection connection(streams_, std::move(socket), std::move(peer), shared_.limits);
    const Presence presence(*this, connection);
    if (turn_away) {
      co_await connection.turn_away();
    } else {
      co_await connection.serve(shared_.handler);
    }
  }

  Task<void> wait(EventLoop::Callback done) {
    co_await serving_.join();
    done();
  }

  void gone() {
    --shared_.connections;
    shared_.open.add(-1);
  }

  Shared& shared_;
  TcpStreams streams_;
  std::set<HttpConnection*> connections_;
  bool draining_ = false;
  TaskGroup serving_;
  TaskGroup drained_;
};

struct IoThread {
  IoThread() = default;
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;
  ~IoThread() { loop.stop(); }  // and then the thread is joined

  UvEventLoop loop;
  std::unique_ptr<IoRoom> room;        // the thread's
  std::unique_ptr<Listener> listener;  // the first thread's
  std::jthread thread;
};

// How many io threads have not finished draining; lives on the owner's loop.
struct Drain {
  std::size_t left;
  OneShot<bool> finished;
};

}  // namespace

class HttpServer::Impl {
 public:
  Impl(const HttpServerOptions& options, HttpHandler& handler, Metrics& metrics, ListeningSocket socket)
      : port_(socket.port),
        shared_{.handler = handler,
                .limits = {.parser = {.header_bytes_max = options.header_bytes_max},
                           .idle = options.idle,
                           .header = options.header,
                           .body_silence = options.body_silence,
                           .linger = options.linger,
                           .discard_bytes_max = options.discard_bytes_max},
                .streams = {.tick = tick_of(options), .write_silence = options.write_silence},
                .connections_max = options.connections_max,
                .open = metrics.gauge("millrace_http_connections", "open HTTP connections"),
                .refused = metrics.counter("millrace_http_connections_refused_total",
                                           "connections that were turned away because there were too many")} {
    const std::size_t count =
        options.io_threads != 0 ? options.io_threads : std::max<std::size_t>(1, std::thread::hardware_concurrency());
    for (std::size_t i = 0; i < count; ++i) threads_.push_back(std::make_unique<IoThread>());
    for (auto& io : threads_) {
      // Before the thread starts, so that it is the first thing it does.
      io->loop.post([this, io = io.get()] { io->room = std::make_unique<IoRoom>(io->loop, shared_); });
    }
    threads_.front()->loop.post([this, fd = std::move(socket.fd)]() mutable {
      threads_.front()->listener = std::make_unique<Listener>(
          threads_.front()->loop, std::move(fd),
          [this](Fd client, std::string peer) { deal_out(std::move(client), std::move(peer)); });
    });
    for (auto& io : threads_) {
      io->thread = std::jthread([io = io.get()] {
        block_sigpipe();
        io->loop.run();
        io->listener.reset();
        io->room.reset();
      });
    }
  }

  ~Impl() { stop_threads(); }

  [[nodiscard]] std::uint16_t port() const { return port_; }

  Task<void> stop(EventLoop& home, std::chrono::milliseconds time) {
    const auto drain = std::make_shared<Drain>(Drain{.left = threads_.size(), .finished = OneShot<bool>(home)});
    for (auto& io : threads_) {
      io->loop.post([io = io.get(), &home, drain] {
        io->listener.reset();
        io->room->drain([&home, drain] {
          home.post([drain] {
            if (--drain->left == 0) drain->finished.set(true);
          });
        });
      });
    }
    const auto timer = home.start_timer(time, [drain] { drain->finished.set(false); });
    const bool drained = co_await drain->finished.wait();
    if (!drained) {
      drain->finished = OneShot<bool>(home);
      for (auto& io : threads_) io->loop.post([io = io.get()] { io->room->cancel(); });
      const auto last = home.start_timer(kTimeToCancel, [drain] { drain->finished.set(false); });
      if (drain->left == 0) drain->finished.set(true);
      (void)co_await drain->finished.wait();
    }
    stop_threads();
  }

 private:
  // On the first io thread.
  void deal_out(Fd client, std::string peer) {
    const std::size_t before = shared_.connections.fetch_add(1);
    shared_.open.add(1);
    const bool turn_away = before >= shared_.connections_max;
    if (turn_away) shared_.refused.add();
    if (before >= shared_.connections_max + kTurnedAwayMax) {
      --shared_.connections;
      shared_.open.add(-1);
      return;
    }
    IoThread& io = *threads_[next_++ % threads_.size()];
    if (&io == threads_.front().get()) return io.room->take(std::move(client), std::move(peer), turn_away);
    io.loop.post([&io, turn_away, client = std::move(client), peer = std::move(peer)]() mutable {
      io.room->take(std::move(client), std::move(peer), turn_away);
    });
  }

  void stop_threads() {
    for (auto& io : threads_) io->loop.stop();  // all at once, then one after the other
    threads_.clear();
  }

  std::uint16_t port_;
  Shared shared_;
  std::size_t next_ = 0;  // the first io thread's
  std::vector<std::unique_ptr<IoThread>> threads_;
};

Result<std::unique_ptr<HttpServer>> HttpServer::start(HttpServerOptions options, HttpHandler& handler,
                                                      Metrics& metrics) {
  auto socket = listen_tcp(options.address, options.port);
  if (!socket) return fail(socket.error());
  try {
    return std::unique_ptr<HttpServer>(
        new HttpServer(std::make_unique<Impl>(options, handler, metrics, std::move(*socket))));
  } catch (const std::system_error& error) {  // std::thread
    return fail(Errc::resource_exhausted, std::string("start the io threads: ") + error.what());
  }
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() = default;

std::uint16_t HttpServer::port() const {
  return impl_->port();
}

Task<void> HttpServer::stop(EventLoop& home, std::chrono::milliseconds drain) {
  return impl_->stop(home, drain);
}

}  // namespace millrace
