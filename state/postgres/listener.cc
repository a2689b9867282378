#include "state/postgres/listener.h"

#include <algorithm>
#include <string>
#include <utility>

#include "async/sleep.h"
#include "state/postgres/notices.h"
#include "state/postgres/session.h"

namespace millrace::postgres {
namespace {

constexpr std::chrono::milliseconds kRedialBase{50};
constexpr std::chrono::milliseconds kRedialCap{5'000};

struct NotifyFreer {
  void operator()(PGnotify* notice) const { PQfreemem(notice); }
};

// Nobody asks anything on this connection: only the kernel can find out that the server's machine is gone.
Address with_keepalives(Address address) {
  for (const auto& [keyword, value] :
       {std::pair("keepalives_idle", "30"), {"keepalives_interval", "10"}, {"keepalives_count", "3"}}) {
    const bool chosen =
        std::ranges::any_of(address.options, [&](const auto& option) { return option.first == keyword; });
    if (!chosen) address.options.emplace_back(keyword, value);
  }
  return address;
}

Result<ConnectionPtr> connect_and_listen(const Address& address) {
  auto session = Session::connect(address);
  if (!session) return fail(session.error());
  if (const auto listening = session->run(std::string("LISTEN ") + kChannel); !listening) {
    return fail(listening.error());
  }
  ConnectionPtr connection = session->release();
  if (PQsetnonblocking(connection.get(), 1) != 0) return fail(error_of(connection.get(), address.name));
  return connection;
}

}  // namespace

Listener::Listener(EventLoop& loop, BlockingPool& dialler, Address address, Log& log, Metrics& metrics)
    : loop_(loop),
      dialler_(dialler),
      address_(with_keepalives(std::move(address))),
      log_(log),
      connected_(
          metrics.gauge("millrace_state_connected", "1 while the state store's server is there", {{"side", "listen"}})),
      notices_(metrics.counter("millrace_state_notices_total", "what other nodes told through the state store")),
      tasks_(loop) {}

Listener::~Listener() {
  reading_.reset();  // before the descriptor that it watches
}

void Listener::start(Heard heard) {
  heard_ = std::move(heard);
  tasks_.spawn(dial_until_up());
}

Task<void> Listener::dial_until_up() {
  std::string told;
  for (std::uint32_t failures = 0; !closing_; ++failures) {
    if (failures > 0) {
      const auto slept =
          co_await sleep_for(loop_, backoff_.delay(kRedialBase, kRedialCap, failures), tasks_.stop_token());
      if (!slept) co_return;
    }
    auto dialed = co_await dialler_.run([address = address_] { return connect_and_listen(address); });
    if (closing_) co_return;
    if (dialed) {
      attach(std::move(*dialed));
      co_return;
    }
    if (told != dialed.error().message) log_.warn("other nodes are not heard", {{"error", dialed.error()}});
    told = dialed.error().message;
  }
}

void Listener::attach(ConnectionPtr connection) {
  connection_ = std::move(connection);
  reading_ = loop_.watch(PQsocket(connection_.get()), EventLoop::Interest::readable, [this] { readable(); });
  connected_.set(1);
  heard_(Notice{});
}

void Listener::readable() {
  if (PQconsumeInput(connection_.get()) == 0) return lost(error_of(connection_.get(), address_.name));
  while (const std::unique_ptr<PGnotify, NotifyFreer> told{PQnotifies(connection_.get())}) {
    notices_.add();
    if (const auto notice = decode_notice(told->extra)) heard_(*notice);
    if (!connection_) return;
  }
}

void Listener::lost(const Error& why) {
  log_.warn("other nodes are not heard", {{"error", why}});
  reading_.reset();
  connection_.reset();
  connected_.set(0);
  if (!closing_) tasks_.spawn(dial_until_up());
}

Task<void> Listener::close() {
  closing_ = true;
  tasks_.request_stop();
  co_await tasks_.join();
  reading_.reset();
  connection_.reset();
  connected_.set(0);
}

}  // namespace millrace::postgres
