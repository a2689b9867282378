#include "state/postgres/link.h"

#include <fcntl.h>

#include <utility>

#include "async/sleep.h"

namespace millrace::postgres {

Link::Link(EventLoop& loop, BlockingPool& dialler, Dialing dialing, Options options, Log& log, Meters meters)
    : loop_(loop),
      dialler_(dialler),
      dialing_(std::move(dialing)),
      options_(options),
      log_(log),
      meters_(meters),
      tasks_(loop) {}

Link::~Link() {
  // Watches go before the descriptors they are of.
  reading_.reset();
  writing_.reset();
}

void Link::start(User& user, ConnectionPtr connection) {
  user_ = &user;
  attach(std::move(connection));
}

void Link::attach(ConnectionPtr connection) {
  connection_ = std::move(connection);
  outstanding_ = 0;
  const int fd = PQsocket(connection_.get());
  write_side_ = Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!write_side_) return break_soon();
  reading_ = loop_.watch(fd, EventLoop::Interest::readable, [this] { readable(); });
  meters_.connected.set(1);
}

void Link::send(const Query& query) {
  const auto pointers = query.parameters.pointers();
  const int count = static_cast<int>(pointers.values.size());
  PGconn* connection = connection_.get();
  const int sent = query.name != nullptr
                       ? PQsendQueryPrepared(connection, query.name, count, pointers.values.data(),
                                             pointers.lengths.data(), pointers.formats.data(), 1)
                       : PQsendQueryParams(connection, query.sql.c_str(), count, nullptr, pointers.values.data(),
                                           pointers.lengths.data(), pointers.formats.data(), 1);
  if (sent == 0) return break_soon();
  ++outstanding_;
}

void Link::sync() {
  if (PQpipelineSync(connection_.get()) == 0) return break_soon();
  ++outstanding_;
  if (!answers_) {
    heard_ = loop_.now();
    watch_answers();
  }
  flush();
}

void Link::flush() {
  const int left = PQflush(connection_.get());
  if (left < 0) return break_soon();
  if (left == 0) {
    writing_.reset();
  } else if (!writing_) {
    writing_ = loop_.watch(write_side_.get(), EventLoop::Interest::writable, [this] { flush(); });
  }
}

void Link::readable() {
  heard_ = loop_.now();
  if (PQconsumeInput(connection_.get()) == 0) return lost(error_of(connection_.get(), name()));
  if (writing_) flush();
  take_results();
}

void Link::take_results() {
  constexpr int kEmptyMax = 3;  // one stands between two statements' results
  int empty = 0;
  // Asked even when nothing is to come: this is how libpq reads what the server says on its own.
  while (connection_ && PQisBusy(connection_.get()) == 0 && outstanding_ > 0) {
    ResultPtr result(PQgetResult(connection_.get()));
    if (!result) {
      if (++empty > kEmptyMax) return;
      continue;
    }
    empty = 0;
    if (PQstatus(connection_.get()) == CONNECTION_BAD) return lost(error_of(result.get(), name()));
    --outstanding_;
    if (PQresultStatus(result.get()) == PGRES_PIPELINE_SYNC) {
      user_->on_sync();
    } else {
      user_->on_result(std::move(result));
    }
  }
  if (outstanding_ == 0) answers_.reset();
}

void Link::watch_answers() {
  const auto left = heard_ + options_.answer_max - loop_.now();
  if (left.count() <= 0) {
    return lost({.code = Errc::unavailable, .message = "state store " + name() + ": the server does not answer"});
  }
  answers_ = loop_.start_timer(left, [this] { watch_answers(); });
}

void Link::break_soon() {
  if (breaking_) return;
  breaking_ = loop_.start_timer(EventLoop::Duration(0), [this] {
    breaking_.reset();
    if (connection_) lost(error_of(connection_.get(), name()));
  });
}

void Link::lost(const Error& why) {
  reading_.reset();
  writing_.reset();
  breaking_.reset();
  answers_.reset();
  write_side_.reset();
  connection_.reset();
  outstanding_ = 0;
  meters_.connected.set(0);
  log_.warn("the state store's server is away", {{"side", options_.side}, {"error", why}});
  user_->on_down(why);
  if (!closing_) tasks_.spawn(redial());
}

Task<void> Link::redial() {
  std::string told;
  for (std::uint32_t failures = 1; !closing_; ++failures) {
    const auto pause = backoff_.delay(options_.redial_base, options_.redial_cap, failures);
    const auto slept = co_await sleep_for(loop_, pause, tasks_.stop_token());
    if (!slept) co_return;
    auto dialed = co_await dialler_.run([dialing = dialing_] { return dial(dialing); });
    if (closing_) co_return;
    if (dialed) {
      attach(std::move(dialed->connection));
      meters_.reconnects.add();
      log_.info("the state store's server is back", {{"side", options_.side}, {"server", name()}});
      user_->on_up();
      co_return;
    }
    if (told != dialed.error().message) {
      log_.warn("the state store's server cannot be reached", {{"side", options_.side}, {"error", dialed.error()}});
    }
    told = dialed.error().message;
  }
}

Task<void> Link::close() {
  closing_ = true;
  tasks_.request_stop();
  co_await tasks_.join();
  reading_.reset();
  writing_.reset();
  breaking_.reset();
  answers_.reset();
  write_side_.reset();
  connection_.reset();
  meters_.connected.set(0);
}

}  // namespace millrace::postgres
