// Circuit breakers: after several errors in a row that are not the doing of a function, nobody asks for more of its
// events for a while; then for one, to see. A function that cannot run, or a store that is away, so costs a probe now
// and then instead of an attempt of every event that waits, whose patience it would use up.
//
//   if (circuits.leave(function) == Leave::any) ...    // whoever asks the broker for events
//   circuits.trouble("thumbs", error);                 // a run was kept from running, or from its end
//   circuits.went_well(function);                      // one came to its end, whatever that was
//
// A store is in trouble by its own errors (guarded_store.h); a run that used it and ended well says that it is not.
// Threads: the domain loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "async/event_loop.h"
#include "core/error.h"
#include "core/function_spec.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"

namespace millrace {

// One breaker. Pure but for what it has been told.
class CircuitBreaker {
 public:
  struct Options {
    std::uint32_t errors = 5;  // in a row
    std::chrono::milliseconds rest_base{1'000};
    std::chrono::milliseconds rest_cap{30'000};
  };

  explicit CircuitBreaker(Options options) : options_(options) {}

  // True when this opened it. While it is open only a probe's error counts: it doubles the rest.
  bool failed(EventLoop::TimePoint now);
  // True when this closed it.
  bool worked();

  [[nodiscard]] bool open() const { return open_; }
  [[nodiscard]] bool probe_due(EventLoop::TimePoint now) const { return open_ && now >= next_probe_; }
  [[nodiscard]] EventLoop::TimePoint next_probe() const { return next_probe_; }
  // One is on its way. Should nothing be heard of it, the next one is due after another rest.
  void probing(EventLoop::TimePoint now);

 private:
  Options options_;
  std::uint32_t errors_ = 0;
  bool open_ = false;
  bool probe_out_ = false;
  std::chrono::milliseconds rest_{0};
  EventLoop::TimePoint next_probe_{};
};

class Circuits {
 public:
  struct Options {
    CircuitBreaker::Options function{};
    CircuitBreaker::Options store{.errors = 20};
  };

  enum class Leave : std::uint8_t { none, one, any };

  struct Resting {
    std::string what;    // "function" or "store local"
    std::string reason;  // the last error
    std::chrono::milliseconds next_try{0};
  };

  Circuits(EventLoop& loop, Options options, Metrics& metrics, Log& log)
      : loop_(loop), options_(options), metrics_(metrics), log_(log) {}

  void trouble(const std::string& function, const Error& error);
  void store_trouble(const std::string& store, const Error& error);
  void went_well(const FunctionSpec& function);

  // How many of its events may be asked for now.
  [[nodiscard]] Leave leave(const FunctionSpec& function) const;
  // One was asked for where `one` was allowed. Until it is heard of, `none` is.
  void probing(const FunctionSpec& function);
  [[nodiscard]] std::optional<Resting> resting(const FunctionSpec& function) const;

  void forget(const std::string& function);

  // Runs `changed` when more may be asked for than before. One listener.
  void on_closed(std::move_only_function<void()> changed) { changed_ = std::move(changed); }

 private:
  struct Circuit {
    CircuitBreaker breaker;
    std::string reason;
  };
  using ByName = std::map<std::string, Circuit>;

  void fail_in(ByName& circuits, const char* kind, const std::string& name, CircuitBreaker::Options options,
               const Error& error);
  void close_in(ByName& circuits, const char* kind, const std::string& name);
  // Of the function and of the stores it uses, those that are open.
  template <class Visit>
  void each_open(const FunctionSpec& function, Visit visit) const;

  EventLoop& loop_;
  Options options_;
  Metrics& metrics_;
  Log& log_;
  ByName functions_;  // those with errors in a row
  ByName stores_;
  std::move_only_function<void()> changed_ = [] {};
};

}  // namespace millrace
