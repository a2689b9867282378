// The root of the process tree: starts the launcher with the rights of whoever started us and the daemon as an ordinary
// user, connects the two, and starts again whichever dies. It takes no input from outside: signals, its two children
// and what the daemon may say over its life line (life_line_messages.h) are all it listens to. What one of the two left
// behind when it died, such as processes of functions, ends with it.
//
//   Supervisor supervisor(log, std::move(options));
//   const auto status = supervisor.run();      // returns when everything has ended
//
// Needs a process with one thread; blocks it. Children that it has already are left alone. Descriptors of the launcher:
// 3 = socket to the daemon, 4 = life line; of the daemon: 3 = life line, 4 and further =
// SupervisorOptions::daemon_descriptors.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "app/child_process.h"
#include "core/error.h"
#include "core/fd.h"
#include "telemetry/log.h"

namespace millrace {

struct SupervisorOptions {
  std::span<const std::byte> launcher_image;    // the embedded program
  std::vector<std::string> launcher_arguments;  // after its name; the daemon's user is added
  Fd executable;                                // of the daemon: our own, opened before anything could replace it
  std::vector<std::string> daemon_arguments;    // its argv, name included
  std::vector<Fd> daemon_descriptors;           // opened with our rights, since the daemon's may not do: 4, 5, ...
  std::optional<UserIds> user;                  // of the daemon; nothing: it stays who we are

  // Delay before the first restart of either; doubled by each further death within `deaths_within`, up to the cap.
  std::chrono::milliseconds restart_delay{100};
  std::chrono::milliseconds restart_delay_cap{10'000};
  std::uint32_t deaths_max = 5;  // within the following, of either: then the whole tree ends with an error
  std::chrono::milliseconds deaths_within{60'000};

  std::chrono::milliseconds daemon_stop_wait{120'000};  // to drain after a signal, then it is killed
  std::chrono::milliseconds launcher_stop_wait{15'000};
  std::chrono::milliseconds orphans_wait{5'000};  // for what a child left behind to end when it is killed
  // A second signal after this long kills the daemon. timeout(1) and terminals send one twice at once; a person who
  // sends another one means it.
  std::chrono::milliseconds second_signal_after{500};
};

// A daemon that exits so has a configuration that no restart can mend (EX_CONFIG of sysexits.h).
inline constexpr int kExitConfiguration = 78;

class Supervisor {
 public:
  Supervisor(Log& log, SupervisorOptions options);

  // The exit status for our own process: the daemon's, when it left by itself with 0 or kExitConfiguration or was asked
  // to by SIGTERM, SIGINT or SIGHUP (a second one kills it). An error when one of the two does not start or kept dying.
  // No child is left in either case, nor anything that one of them started.
  [[nodiscard]] Result<int> run();

 private:
  using Clock = std::chrono::steady_clock;

  struct Child {
    const char* name;
    ChildProcess process;
    Fd life_line;
    std::deque<Clock::time_point> deaths;  // within deaths_within
    std::optional<Clock::time_point> restart_at;
    bool alive = false;
  };

  Result<void> open();
  Result<void> start_launcher();
  Result<void> start_daemon();
  Result<void> start_due(Clock::time_point now);
  Result<void> connect_children();
  Result<void> wait();
  void read_signals();
  void read_daemon();
  void read_launcher();
  void look_after(Child& child);
  void daemon_ended(const ChildEnd& end);
  void launcher_ended(const ChildEnd& end);
  void end_what_is_left();
  void count_death(Child& child, const std::string& how);
  void begin_stop(int status);
  void go_on_stopping(Clock::time_point now);
  void end_all();
  [[nodiscard]] std::optional<Clock::time_point> next_deadline() const;

  Log& log_;
  SupervisorOptions options_;
  Fd launcher_program_;
  Fd signals_;
  std::vector<pid_t> inherited_;  // children that this process had before
  Child launcher_{.name = "launcher", .process = {}, .life_line = {}, .deaths = {}, .restart_at = {}};
  Child daemon_{.name = "daemon", .process = {}, .life_line = {}, .deaths = {}, .restart_at = {}};

  std::uint64_t socket_number_ = 0;  // of the latest launcher socket
  Fd daemon_end_;                    // of that socket, until the daemon has got it
  bool daemon_needs_socket_ = false;

  bool stopping_ = false;
  Clock::time_point stop_began_;
  int status_ = 0;  // what run() returns in the end, if nothing went wrong
  std::optional<Error> failure_;
  std::optional<Clock::time_point> daemon_deadline_;
  std::optional<Clock::time_point> launcher_deadline_;
};

}  // namespace millrace
