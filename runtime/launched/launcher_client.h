// The daemon's end of its conversation with the launcher, shared by everything that needs privilege: the executors that
// start functions through it, and the write check.
//
//   LauncherClient client(loop, log, {});
//   client.connect(std::move(socket));                         // from the supervisor; again after every death
//   auto use = co_await client.use_template(plan, stop);       // once per function revision, then shared
//   auto start = co_await client.start(*use, std::move(request), stop);
//   if (start && start->run) auto end = co_await start->run->wait_ended();
//
// A launcher that dies takes its sandboxes along: every run that was on its way ends as lost, every other request as
// `unavailable`, and new requests wait for the next socket, at most `connect_wait`. A launcher that breaks the protocol
// or does not answer is treated alike, and the owner of the life line is told, since only the supervisor can replace
// it.
//
// Thread: the loop's.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "async/event_loop.h"
#include "async/one_shot.h"
#include "async/task.h"
#include "async/task_group.h"
#include "core/error.h"
#include "core/fd.h"
#include "core/ids.h"
#include "net/seqpacket.h"
#include "runtime/executor.h"
#include "runtime/launcher/protocol.h"
#include "telemetry/log.h"

namespace millrace::launched {

struct Connection;
struct Template;
struct RunState;

// What the launcher must have built before a function of this revision can start.
struct TemplatePlan {
  std::shared_ptr<const FunctionSpec> function;
  launcher::Kind kind = launcher::Kind::container;
  bool script = false;       // hand the function's script over
  int probe_directory = -1;  // on the file system of inputs and outputs; lent until use_template() returns
  std::function<Task<Result<Fd>>()> open_image = {};  // the directory of the image, if it is one; called when needed
};

// Keeps a template from being dropped for another one.
class TemplateUse {
 public:
  TemplateUse(TaskGroup& senders, std::shared_ptr<Connection> connection, std::shared_ptr<Template> used);
  TemplateUse(TemplateUse&&) noexcept = default;
  TemplateUse& operator=(TemplateUse&&) = delete;
  ~TemplateUse();

  [[nodiscard]] launcher::FileAccess files() const;

 private:
  friend class LauncherClient;
  TaskGroup* senders_;
  std::shared_ptr<Connection> connection_;
  std::shared_ptr<Template> template_;
};

// One started run. Dropping it before its end kills what runs.
class LaunchedRun {
 public:
  struct Timed {
    std::optional<launcher::Exited> exited;  // nothing: lost with its launcher
    EventLoop::TimePoint started_at{};
    EventLoop::TimePoint ended_at{};
  };

  LaunchedRun(TaskGroup& senders, std::shared_ptr<Connection> connection, std::shared_ptr<RunState> state);
  LaunchedRun(const LaunchedRun&) = delete;
  LaunchedRun& operator=(const LaunchedRun&) = delete;
  ~LaunchedRun();

  // Does nothing once the run has ended.
  void kill(launcher::KillSignal signal);

  // Returns when no process of the run is left. One waiter, once.
  [[nodiscard]] Task<Timed> wait_ended();

 private:
  TaskGroup& senders_;
  std::shared_ptr<Connection> connection_;
  std::shared_ptr<RunState> state_;
};

struct StartRequest {
  launcher::Spawn spawn;  // everything but run, template_id and program
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // NAME=value
  std::vector<Fd> descriptors;           // stdin, stdout, stderr, then those that `spawn` announces
};

// Whether starting it takes as long as reading its inputs does.
[[nodiscard]] bool copies_inputs(const launcher::Spawn& spawn);

// `run` is set, or `refused`; neither: the launcher was lost before it answered, so nobody knows whether it began.
struct Start {
  std::unique_ptr<LaunchedRun> run;
  std::optional<launcher::SpawnFailed> refused;
};

class LauncherClient final : public WriteCheck {
 public:
  struct Options {
    EventLoop::Duration connect_wait = std::chrono::seconds(5);  // how long a request waits for a launcher
    EventLoop::Duration answer_wait = std::chrono::seconds(60);  // a launcher that is silent longer is replaced
    EventLoop::Duration runtime_wait = std::chrono::minutes(5);  // an OCI runtime that starts longer is killed
    std::size_t templates_max = 128;                             // the least recently used idle one makes room
    std::size_t waiting_max = 4096;                              // requests that wait for a launcher
  };

  enum class Trouble : std::uint8_t {
    closed,  // the launcher died, or has dropped this daemon: a fresh socket is needed
    stuck,   // it does not answer or breaks the protocol: it must be replaced
  };
  using OnTrouble = std::move_only_function<void(Trouble)>;

  LauncherClient(EventLoop& loop, Log& log, Options options);
  ~LauncherClient() override;

  // Who can get a new launcher; called once per connection that was lost without connect() replacing it.
  void set_on_trouble(OnTrouble on_trouble) { on_trouble_ = std::move(on_trouble); }

  // A fresh socket to a launcher. What still runs on the one before is lost.
  void connect(Fd socket);

  // What the launcher said about this host, the latest one if none is connected now; null before the first.
  [[nodiscard]] const launcher::Hello* hello() const { return hello_ ? &*hello_ : nullptr; }

  // Waits for a launcher that has introduced itself. `unavailable` after connect_wait.
  [[nodiscard]] Task<Result<launcher::Hello>> wait_hello(std::stop_token stop = {});

  // Builds the template of this revision, or shares the one that exists. Errors: spawn_error.h's for PrepareFailed,
  // `unavailable`, `resource_exhausted` when all templates_max are in use, `cancelled`.
  [[nodiscard]] Task<Result<TemplateUse>> use_template(TemplatePlan plan, std::stop_token stop);

  // `unavailable` if the template's launcher is gone, `too_large`/`invalid_argument` for a program that cannot be.
  // `use` must live until this returns. Where inputs are copied a start takes as long as reading them does, and `stop`
  // kills what has started by then.
  [[nodiscard]] Task<Result<Start>> start(const TemplateUse& use, StartRequest request, std::stop_token stop);

  // The revision is no longer used. Its runs go on.
  void forget(const FunctionUid& function, std::uint64_t revision);

  // Ends the connection because the launcher broke a promise; everything on it is lost.
  void give_up(std::string why);

  // `unknown` where the launcher cannot tell; `unavailable` without one.
  Task<Result<WriteState>> check(Fd file) override;

 private:
  Task<void> receive(std::shared_ptr<Connection> connection);
  Task<Result<std::shared_ptr<Connection>>> connected(std::stop_token stop);
  Task<Result<void>> prepare(std::shared_ptr<Connection> connection, std::shared_ptr<Template> made, TemplatePlan plan);
  [[nodiscard]] Result<void> make_room(const std::shared_ptr<Connection>& connection);
  [[nodiscard]] std::unique_ptr<EventLoop::Handle> expect_answer(const std::shared_ptr<Connection>& connection,
                                                                 const char* to_what);

  bool take(Connection& connection, launcher::Answer answer);  // false: it breaks the protocol
  void take(Connection& connection, launcher::Hello answer);
  // `trouble`: what to tell the owner of the life line, if anything.
  void lose(const std::shared_ptr<Connection>& connection, std::optional<Trouble> trouble, const std::string& why);

  EventLoop& loop_;
  Log& log_;
  Options options_;
  OnTrouble on_trouble_;
  std::optional<launcher::Hello> hello_;
  std::shared_ptr<Connection> connection_;  // shared with the tasks that wait on it
  std::deque<OneShot<bool>> waiting_;       // for a connection
  std::uint64_t next_request_ = 1;          // of runs and write checks, over all connections
  std::uint32_t next_template_ = 1;
  TaskGroup tasks_;
};

}  // namespace millrace::launched
