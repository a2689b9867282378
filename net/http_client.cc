#include "net/http_client.h"

#include <fcntl.h>

#include <cerrno>
#include <map>
#include <utility>

#include "core/fd.h"
#include "net/http_transfer.h"
#include "net/sigpipe.h"

namespace millrace {

// libcurl's multi handle, driven by the loop: it names sockets and a time, and is told what became ready.
class HttpClient::Multi {
 public:
  Multi(EventLoop& loop, Options options) : loop_(loop), options_(std::move(options)) {
    block_sigpipe();                        // TLS connections write without MSG_NOSIGNAL
    curl_global_init(CURL_GLOBAL_DEFAULT);  // counted, and safe from several threads
    multi_.reset(curl_multi_init());
    curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETFUNCTION, &Multi::on_socket);  // NOLINT: C's variadic
    curl_multi_setopt(multi_.get(), CURLMOPT_SOCKETDATA, this);                   // NOLINT
    curl_multi_setopt(multi_.get(), CURLMOPT_TIMERFUNCTION, &Multi::on_timer);    // NOLINT
    curl_multi_setopt(multi_.get(), CURLMOPT_TIMERDATA, this);                    // NOLINT
    curl_multi_setopt(multi_.get(), CURLMOPT_MAX_TOTAL_CONNECTIONS,               // NOLINT
                      static_cast<long>(options_.connections_max));
  }
  Multi(const Multi&) = delete;
  Multi& operator=(const Multi&) = delete;
  ~Multi() {
    multi_.reset();  // closes the kept connections, and asks to unwatch them
    curl_global_cleanup();
  }

  Task<Result<HttpClientResponse>> send(HttpClientRequest request, std::stop_token stop) {
    HttpTransfer transfer(loop_, std::move(request), options_);
    if (const auto prepared = transfer.prepare(); !prepared) co_return fail(prepared.error());
    if (stop.stop_requested()) co_return cancelled(transfer);

    const Membership membership(multi_.get(), transfer.easy());
    const std::stop_callback on_stop(stop, [done = transfer.done()] { done.set(std::nullopt); });
    const auto code = co_await transfer.done().wait();
    if (!code) co_return cancelled(transfer);
    co_return transfer.take_result(*code);
  }

 private:
  struct MultiDeleter {
    void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
  };

  // A transfer runs while this exists.
  class Membership {
   public:
    Membership(CURLM* multi, CURL* easy) : multi_(multi), easy_(easy) { curl_multi_add_handle(multi_, easy_); }
    Membership(const Membership&) = delete;
    Membership& operator=(const Membership&) = delete;
    ~Membership() { curl_multi_remove_handle(multi_, easy_); }

   private:
    CURLM* multi_;
    CURL* easy_;
  };

  // A loop watches a descriptor once, and libcurl may want both directions: writing is watched on a second one.
  struct Watched {
    Fd again;
    std::unique_ptr<EventLoop::Handle> readable;
    std::unique_ptr<EventLoop::Handle> writable;
  };

  static std::unexpected<Error> cancelled(const HttpTransfer& transfer) {
    return fail(Errc::cancelled, transfer.name() + ": cancelled");
  }

  static int on_socket(CURL*, curl_socket_t socket, int what, void* user, void*) {
    static_cast<Multi*>(user)->watch(socket, what);
    return 0;
  }

  static int on_timer(CURLM*, long timeout_ms, void* user) {
    auto& self = *static_cast<Multi*>(user);
    self.timer_.reset();
    if (timeout_ms >= 0) {
      self.timer_ =
          self.loop_.start_timer(std::chrono::milliseconds(timeout_ms), [&self] { self.act(CURL_SOCKET_TIMEOUT, 0); });
    }
    return 0;
  }

  void watch(curl_socket_t socket, int what) {
    if (what == CURL_POLL_REMOVE) {
      sockets_.erase(socket);
      return;
    }
    Watched& watched = sockets_[socket];
    const bool in = what == CURL_POLL_IN || what == CURL_POLL_INOUT;
    const bool out = what == CURL_POLL_OUT || what == CURL_POLL_INOUT;
    if (!in) watched.readable.reset();
    if (!out) watched.writable.reset();
    if (in && !watched.readable) {
      watched.readable =
          loop_.watch(socket, EventLoop::Interest::readable, [this, socket] { act(socket, CURL_CSELECT_IN); });
    }
    if (out && !watched.writable) {
      if (!watched.again) watched.again = Fd(::fcntl(socket, F_DUPFD_CLOEXEC, 0));
      if (!watched.again) return;  // no descriptors left: the transfer ends by its time limit
      watched.writable = loop_.watch(watched.again.get(), EventLoop::Interest::writable,
                                     [this, socket] { act(socket, CURL_CSELECT_OUT); });
    }
  }

  void act(curl_socket_t socket, int events) {
    int running = 0;
    curl_multi_socket_action(multi_.get(), socket, events, &running);
    int left = 0;
    while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      void* user = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &user);  // NOLINT: C's variadic
      // Wakes in a later step, so libcurl is not called from within itself.
      static_cast<HttpTransfer*>(user)->done().set(message->data.result);  // NOLINT: libcurl's union
    }
  }

  EventLoop& loop_;
  Options options_;
  std::map<curl_socket_t, Watched> sockets_;
  std::unique_ptr<EventLoop::Handle> timer_;
  std::unique_ptr<CURLM, MultiDeleter> multi_;
};

HttpClient::HttpClient(EventLoop& loop, Options options) : multi_(std::make_unique<Multi>(loop, std::move(options))) {}
HttpClient::~HttpClient() = default;

Task<Result<HttpClientResponse>> HttpClient::send(HttpClientRequest request, std::stop_token stop) {
  return multi_->send(std::move(request), std::move(stop));
}

}  // namespace millrace
