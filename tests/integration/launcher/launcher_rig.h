// Supervisor and daemon in one, for tests: starts the real launcher and speaks with it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "core/provided_files.h"
#include "runtime/launcher/channel.h"
#include "runtime/launcher/protocol.h"
#include "tests/integration/launcher/host_counts.h"

namespace millrace::launcher {

// What a run does and what became of it.
struct RunSpec {
  std::uint32_t template_id = 1;
  std::vector<std::string> argv{};
  std::vector<std::string> environment{"PATH=/usr/bin:/bin"};
  Limits limits{};
  std::string working_directory = "/tmp";
  std::string hostname{};
  std::string standard_input{};
  int output = -1;                              // borrowed
  std::vector<std::pair<Input, int>> inputs{};  // borrowed descriptors
};

struct RunResult {
  bool started = false;
  SpawnFailed failed;  // if not started
  Exited exited;
  std::string output;
  std::string errors;
};

class LauncherRig {
 public:
  // Starts the launcher as root with a prefix of its own, or as an ordinary user.
  enum class As { root, user };
  friend void PrintTo(As as, std::ostream* out) { *out << (as == As::root ? "Root" : "User"); }
  // As whom tests start it that do not care: an ordinary user where MILLRACE_TEST_AS=user is in the environment.
  static As usual() {
    const char* as = std::getenv("MILLRACE_TEST_AS");
    return as != nullptr && std::string(as) == "user" ? As::user : As::root;
  }
  explicit LauncherRig(As as = usual(), std::vector<std::string> more_arguments = {});
  ~LauncherRig();
  LauncherRig(const LauncherRig&) = delete;
  LauncherRig& operator=(const LauncherRig&) = delete;

  [[nodiscard]] const Hello& hello() const { return hello_; }
  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const std::string& prefix() const { return prefix_; }
  [[nodiscard]] int daemon_socket() const { return daemon_.get(); }

  void send(const Request& request, const std::vector<int>& descriptors = {});
  // The next answer of this type, keeping others for later; fails the test after a long time.
  template <class T>
  T await() {
    for (;;) {
      for (auto at = kept_.begin(); at != kept_.end(); ++at) {
        if (auto* answer = std::get_if<T>(&*at)) {
          T found = std::move(*answer);
          kept_.erase(at);
          return found;
        }
      }
      if (!read_one()) return {};
    }
  }

  Prepared prepare(std::uint32_t id, Kind kind, Network network = Network::none, const std::string& script = {});
  // With everything that a request may have; `image` is borrowed.
  Prepared prepare(const Prepare& request, int image, const std::vector<ProvidedFile>& provided,
                   const std::string& script = {});
  // After a Prepare of one's own: whether it succeeded.
  bool await_built(std::uint32_t id);
  // Instead of prepare(), where it must fail.
  PrepareFailed refuse_to_prepare(const Prepare& request, int image, const std::vector<ProvidedFile>& provided = {});

  // Starts without waiting; finish() collects.
  // Where MILLRACE_TEST_SPARES is in the environment, in a spare sandbox wherever a run may be: see make_spare().
  std::uint64_t start(const RunSpec& spec);
  RunResult finish(std::uint64_t run);
  RunResult run(const RunSpec& spec) { return finish(start(spec)); }
  // Lets the template have a spare sandbox that fits this run: a run that cannot start leaves one behind. Its pid.
  pid_t make_spare(const RunSpec& spec);
  [[nodiscard]] bool may_have_spare(const RunSpec& spec) const;
  // Reads the run's standard output until it holds this text.
  void await_output(std::uint64_t run, const std::string& text);
  // Reads until nobody holds the run's pipes, and forgets the run.
  void await_end_of_output(std::uint64_t run);

  void close_daemon_socket() { daemon_.reset(); }
  void expect_socket_end();     // the launcher closes its end
  void hand_over_new_daemon();  // over the life line; awaits Hello
  void close_life_line() { life_line_.reset(); }
  void kill_launcher();      // SIGKILL
  int await_launcher_end();  // wait status
  void restart();            // after kill_launcher: the same prefix

 private:
  struct Pipes {
    Fd output;
    Fd errors;
    RunResult result;
  };
  void launch();
  std::uint64_t spawn(const RunSpec& spec);
  void send_prepare(Prepare request, int image, const std::vector<ProvidedFile>& provided, const std::string& script);
  Prepared await_prepared();
  bool read_one();
  bool drain(Pipes& pipes, std::chrono::milliseconds wait);
  void drain_to_end(Pipes& pipes);

  As as_;
  std::string prefix_;
  std::vector<std::string> more_arguments_;
  pid_t pid_ = -1;
  Fd daemon_;
  Fd life_line_;
  Hello hello_;
  std::deque<Answer> kept_;
  std::map<std::uint64_t, Pipes> pipes_;
  std::set<std::uint32_t> containers_;  // templates of the kind
  std::uint64_t next_run_ = 1;
};

// Skips the test, with a reason that is counted, unless this is root.
#define MILLRACE_NEEDS_ROOT() \
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: namespaces, cgroups and users are the launcher's subject"

// Skips what an ordinary user's launcher does not have, or has otherwise.
#define MILLRACE_NEEDS_ROOTS_LAUNCHER(what) \
  if (LauncherRig::usual() == LauncherRig::As::user) GTEST_SKIP() << "without root: " what

// Skips what this host has no control group for, or not for this user; where there is a rig_.
#define MILLRACE_NEEDS_CONTROL(name)                            \
  if (rig_->hello().of(Control::name).support != Support::real) \
  GTEST_SKIP() << #name " is missing: " << rig_->hello().of(Control::name).reason

// The program that tries what a function must not be able to do; see probe.cc.
std::string probe_path();

}  // namespace millrace::launcher
