#include "runtime/launched/launcher_client.h"

#include <algorithm>

#include "async/sleep.h"
#include "runtime/launched/prepare_request.h"
#include "runtime/launched/spawn_error.h"
#include "runtime/launcher/channel.h"

namespace millrace::launched {
namespace {

constexpr std::size_t kAnswerBytesMax = 16 * 1024;  // Hello with every reason at its bound fits

using TemplateKey = std::pair<FunctionUid, std::uint64_t>;

}  // namespace

bool copies_inputs(const launcher::Spawn& spawn) {
  return std::ranges::any_of(spawn.inputs, [](const auto& input) { return input.mode == launcher::InputMode::copy; });
}

struct Template {
  std::uint32_t id = 0;
  TemplateKey key;
  launcher::Kind kind = launcher::Kind::container;
  enum class State : std::uint8_t { preparing, ready, gone } state = State::preparing;
  launcher::FileAccess files = launcher::FileAccess::none;
  std::size_t users = 0;
  std::uint64_t last_used = 0;
  bool forgotten = false;  // dropped when its last user leaves
  std::vector<OneShot<Result<void>>> waiting;
};

struct RunState {
  RunState(EventLoop& loop, std::uint64_t run) : id(run), started(loop), ended(loop) {}
  std::uint64_t id;
  EventLoop::TimePoint started_at{};
  EventLoop::TimePoint ended_at{};
  OneShot<std::optional<launcher::SpawnFailed>> started;  // nothing: it runs, unless `lost`
  OneShot<std::optional<launcher::Exited>> ended;
  bool lost = false;
};

// One launcher socket with everything that lives and dies with it.
struct Connection {
  Connection(EventLoop& loop, Fd fd) : socket(loop, std::move(fd)) {}

  SeqpacketSocket socket;
  bool introduced = false;  // Hello has come
  bool lost = false;
  std::stop_source stop;                                       // ends the sends and the receive of a lost connection
  std::uint64_t clock = 0;                                     // of Template::last_used
  std::map<TemplateKey, std::shared_ptr<Template>> templates;  // shared with their users
  std::map<std::uint64_t, std::shared_ptr<RunState>> runs;     // shared with LaunchedRun
  std::map<std::uint64_t, OneShot<WriteState>> checks;
};

namespace {

// For what nobody waits for: when it fails the connection is lost, and the receiver sees that.
Task<void> send_quietly(std::shared_ptr<Connection> connection, std::string bytes) {
  const auto sent = co_await connection->socket.send(std::move(bytes), {}, connection->stop.get_token());
  if (!sent) connection->stop.request_stop();
}

void settle(Template& prepared, const Result<void>& result) {
  for (const auto& waiter : std::exchange(prepared.waiting, {})) waiter.set(result);
}

// Takes a template without users out of the connection and tells the launcher.
void drop(TaskGroup& senders, const std::shared_ptr<Connection>& connection, const std::shared_ptr<Template>& dropped) {
  const auto found = connection->templates.find(dropped->key);
  if (found == connection->templates.end() || found->second != dropped) return;
  connection->templates.erase(found);
  dropped->state = Template::State::gone;
  auto bytes = launcher::encode(launcher::Request(launcher::Drop{.template_id = dropped->id}));
  if (bytes) senders.spawn(send_quietly(connection, std::move(*bytes)));
}

Error gone_error() {
  return {.code = Errc::unavailable,
          .message = "the launcher was lost; the supervisor starts another",
          .retry_after = std::chrono::seconds(1)};
}

}  // namespace

TemplateUse::TemplateUse(TaskGroup& senders, std::shared_ptr<Connection> connection, std::shared_ptr<Template> used)
    : senders_(&senders), connection_(std::move(connection)), template_(std::move(used)) {
  ++template_->users;
  template_->last_used = ++connection_->clock;
}

TemplateUse::~TemplateUse() {
  if (!template_) return;
  --template_->users;
  if (template_->forgotten && template_->users == 0) drop(*senders_, connection_, template_);
}

launcher::FileAccess TemplateUse::files() const {
  return template_->files;
}

LaunchedRun::LaunchedRun(TaskGroup& senders, std::shared_ptr<Connection> connection, std::shared_ptr<RunState> state)
    : senders_(senders), connection_(std::move(connection)), state_(std::move(state)) {}

LaunchedRun::~LaunchedRun() {
  kill(launcher::KillSignal::kill);
}

void LaunchedRun::kill(launcher::KillSignal signal) {
  if (connection_->lost || !connection_->runs.contains(state_->id)) return;
  auto bytes = launcher::encode(launcher::Request(launcher::Kill{.run = state_->id, .signal = signal}));
  if (bytes) senders_.spawn(send_quietly(connection_, std::move(*bytes)));
}

Task<LaunchedRun::Timed> LaunchedRun::wait_ended() {
  auto exited = co_await state_->ended.wait();
  co_return Timed{.exited = std::move(exited), .started_at = state_->started_at, .ended_at = state_->ended_at};
}

LauncherClient::LauncherClient(EventLoop& loop, Log& log, Options options)
    : loop_(loop), log_(log), options_(options), tasks_(loop) {}

LauncherClient::~LauncherClient() = default;

void LauncherClient::connect(Fd socket) {
  if (connection_) lose(connection_, std::nullopt, "another one takes its place");
  connection_ = std::make_shared<Connection>(loop_, std::move(socket));
  tasks_.spawn(receive(connection_));
}

Task<void> LauncherClient::receive(std::shared_ptr<Connection> connection) {
  for (;;) {
    auto message = co_await connection->socket.recv({.bytes_max = kAnswerBytesMax}, connection->stop.get_token());
    if (!message && message.error().code == Errc::too_large) {
      lose(connection, Trouble::stuck, message.error().message);
      co_return;
    }
    if (!message || !*message) {
      lose(connection, Trouble::closed, message ? "it closed the connection" : message.error().message);
      co_return;
    }
    auto answer = launcher::decode_answer((*message)->bytes);
    if (!answer) {
      lose(connection, Trouble::stuck, answer.error().message);
      co_return;
    }
    if (!take(*connection, std::move(*answer))) {
      lose(connection, Trouble::stuck, "it sent an answer out of place");
      co_return;
    }
  }
}

namespace {

bool take_answer(Connection& connection, const launcher::Prepared& answer) {
  for (auto& [key, prepared] : connection.templates) {
    if (prepared->id != answer.template_id) continue;
    prepared->state = Template::State::ready;
    prepared->files = answer.files;
    settle(*prepared, {});
    return true;
  }
  return true;  // of a template forgotten meanwhile
}

bool take_answer(Connection& connection, const launcher::PrepareFailed& answer) {
  const auto found = std::ranges::find_if(connection.templates,
                                          [&](const auto& entry) { return entry.second->id == answer.template_id; });
  if (found == connection.templates.end()) return true;
  const auto failed = found->second;
  connection.templates.erase(found);  // the next run tries anew
  failed->state = Template::State::gone;
  settle(*failed, fail(error_of(answer)));
  return true;
}

bool take_answer(Connection& connection, const launcher::SpawnFailed& answer) {
  const auto found = connection.runs.find(answer.run);
  if (found == connection.runs.end()) return false;
  const auto run = found->second;
  connection.runs.erase(found);
  return run->started.set(answer);
}

bool take_answer(Connection& connection, const launcher::Quiet& answer) {
  const auto found = connection.checks.find(answer.request);
  if (found == connection.checks.end()) return false;
  const auto waiter = found->second;
  connection.checks.erase(found);
  waiter.set(answer.state == launcher::Quietness::quiet              ? WriteState::quiet
             : answer.state == launcher::Quietness::open_for_writing ? WriteState::open_for_writing
                                                                     : WriteState::unknown);
  return true;
}

}  // namespace

bool LauncherClient::take(Connection& connection, launcher::Answer answer) {
  if (auto* hello = std::get_if<launcher::Hello>(&answer)) {
    if (connection.introduced || hello->version != launcher::kProtocolVersion) return false;
    take(connection, std::move(*hello));
    return true;
  }
  if (!connection.introduced) return false;
  if (const auto* prepared = std::get_if<launcher::Prepared>(&answer)) return take_answer(connection, *prepared);
  if (const auto* failed = std::get_if<launcher::PrepareFailed>(&answer)) return take_answer(connection, *failed);
  if (const auto* failed = std::get_if<launcher::SpawnFailed>(&answer)) return take_answer(connection, *failed);
  if (const auto* quiet = std::get_if<launcher::Quiet>(&answer)) return take_answer(connection, *quiet);
  if (const auto* started = std::get_if<launcher::Started>(&answer)) {
    const auto found = connection.runs.find(started->run);
    if (found == connection.runs.end()) return false;
    found->second->started_at = loop_.now();
    return found->second->started.set(std::nullopt);
  }
  if (const auto* exited = std::get_if<launcher::Exited>(&answer)) {
    const auto found = connection.runs.find(exited->run);
    if (found == connection.runs.end() || !found->second->started.is_set()) return false;
    const auto run = found->second;
    connection.runs.erase(found);
    run->ended_at = loop_.now();
    return run->ended.set(*exited);
  }
  return false;  // Sampled: this daemon never asks
}

void LauncherClient::take(Connection& connection, launcher::Hello answer) {
  connection.introduced = true;
  log_.info("launcher connected", {{"privileged", answer.privileged ? "yes" : "no"}});
  hello_ = std::move(answer);
  for (const auto& waiter : std::exchange(waiting_, {})) waiter.set(true);
}

void LauncherClient::lose(const std::shared_ptr<Connection>& connection, std::optional<Trouble> trouble,
                          const std::string& why) {
  if (std::exchange(connection->lost, true)) return;
  const auto kept = connection;  // the caller's may be connection_ itself
  if (connection_ == kept) connection_ = nullptr;
  kept->stop.request_stop();
  log_.warn("launcher connection lost", {{"runs", kept->runs.size()}, {"reason", why}});
  for (const auto& [key, prepared] : std::exchange(kept->templates, {})) {
    prepared->state = Template::State::gone;
    settle(*prepared, fail(gone_error()));
  }
  for (const auto& [id, run] : std::exchange(kept->runs, {})) {
    run->lost = true;
    run->ended_at = loop_.now();
    run->started.set(std::nullopt);
    run->ended.set(std::nullopt);
  }
  for (const auto& [id, waiter] : std::exchange(kept->checks, {})) waiter.set(WriteState::unknown);
  if (trouble && on_trouble_) on_trouble_(*trouble);
}

void LauncherClient::give_up(std::string why) {
  if (connection_) lose(connection_, Trouble::stuck, why);
}

std::unique_ptr<EventLoop::Handle> LauncherClient::expect_answer(const std::shared_ptr<Connection>& connection,
                                                                 const char* to_what) {
  return loop_.start_timer(options_.answer_wait, [this, connection, to_what] {
    lose(connection, Trouble::stuck, std::string("it does not answer ") + to_what);
  });
}

Task<Result<std::shared_ptr<Connection>>> LauncherClient::connected(std::stop_token stop) {
  if (connection_ && connection_->introduced) co_return connection_;
  Deadline deadline(loop_, options_.connect_wait, stop);
  while (!connection_ || !connection_->introduced) {
    if (stop.stop_requested()) co_return fail(Errc::cancelled, "cancelled while waiting for the launcher");
    std::erase_if(waiting_, [](const OneShot<bool>& waiter) { return waiter.is_set(); });
    if (deadline.expired() || waiting_.size() >= options_.waiting_max) {
      co_return fail(Error{.code = Errc::unavailable,
                           .message = "no launcher is running now; the supervisor starts another",
                           .retry_after = std::chrono::seconds(1)});
    }
    const OneShot<bool> ready(loop_);
    waiting_.push_back(ready);
    const std::stop_callback on_stop(deadline.token(), [ready] { ready.set(false); });
    co_await ready.wait();
  }
  co_return connection_;
}

Task<Result<launcher::Hello>> LauncherClient::wait_hello(std::stop_token stop) {
  const auto connection = co_await connected(stop);
  if (!connection) co_return fail(connection.error());
  co_return *hello_;
}

Result<void> LauncherClient::make_room(const std::shared_ptr<Connection>& connection) {
  auto& templates = connection->templates;
  if (templates.size() < options_.templates_max) return {};
  auto oldest = templates.end();
  for (auto entry = templates.begin(); entry != templates.end(); ++entry) {
    if (entry->second->users > 0) continue;
    if (oldest == templates.end() || entry->second->last_used < oldest->second->last_used) oldest = entry;
  }
  if (oldest == templates.end()) {
    return fail(Errc::resource_exhausted, "prepare the function: " + std::to_string(templates.size()) +
                                              " functions run at this moment, the most at a time (templates_max)");
  }
  const auto dropped = oldest->second;
  drop(tasks_, connection, dropped);
  return {};
}

Task<Result<TemplateUse>> LauncherClient::use_template(TemplatePlan plan, std::stop_token stop) {
  const auto connection = co_await connected(stop);
  if (!connection) co_return fail(connection.error());
  const TemplateKey key(plan.function->uid, plan.function->revision);
  auto& templates = (*connection)->templates;
  if (const auto found = templates.find(key); found != templates.end()) {
    TemplateUse use(tasks_, *connection, found->second);
    if (use.template_->state == Template::State::ready) co_return std::move(use);
    const OneShot<Result<void>> done(loop_);
    use.template_->waiting.push_back(done);
    const std::stop_callback on_stop(stop, [done] { done.set(fail(Errc::cancelled, "cancelled while preparing")); });
    const auto ready = co_await done.wait();
    if (!ready) co_return fail(ready.error());
    co_return std::move(use);
  }
  if (auto room = make_room(*connection); !room) co_return fail(room.error());
  const auto made = std::make_shared<Template>();
  made->id = next_template_++;
  made->key = key;
  made->kind = plan.kind;
  templates.emplace(key, made);
  TemplateUse use(tasks_, *connection, made);
  // Not ended by `stop`: others may wait for the same template by now.
  const auto ready = co_await prepare(*connection, made, std::move(plan));
  if (!ready) co_return fail(ready.error());
  co_return std::move(use);
}

Task<Result<void>> LauncherClient::prepare(std::shared_ptr<Connection> connection, std::shared_ptr<Template> made,
                                           TemplatePlan plan) {
  const FunctionSpec& function = *plan.function;
  const launcher::Prepare request =
      prepare_request(plan, made->id, hello_->of(launcher::Control::private_network).support);
  Result<Fd> image;
  if (plan.open_image) image = co_await plan.open_image();
  auto parts = prepare_parts(request, plan, std::move(image));
  auto bytes = launcher::encode(launcher::Request(request));
  Result<void> sent;
  if (!parts) {
    sent = fail(parts.error());
  } else if (!bytes) {
    sent = fail(bytes.error());
  } else {
    std::vector<int> fds;
    for (const Fd& part : *parts) fds.push_back(part.get());
    if (request.probe_directory) fds.push_back(plan.probe_directory);
    sent = co_await connection->socket.send(std::move(*bytes), std::move(fds), connection->stop.get_token());
  }
  if (!sent) {
    const Error error = connection->lost ? gone_error() : sent.error().with("prepare function " + function.name);
    if (made->state == Template::State::preparing) {
      made->state = Template::State::gone;
      if (const auto found = connection->templates.find(made->key);
          found != connection->templates.end() && found->second == made) {
        connection->templates.erase(found);
      }
      settle(*made, fail(error));
    }
    co_return fail(error);
  }
  if (made->state == Template::State::ready) co_return Result<void>();
  if (made->state == Template::State::gone) co_return fail(gone_error());
  const OneShot<Result<void>> done(loop_);
  made->waiting.push_back(done);
  const auto watchdog = expect_answer(connection, "a request to prepare a function");
  auto ready = co_await done.wait();
  co_return ready;
}

Task<Result<Start>> LauncherClient::start(const TemplateUse& use, StartRequest request, std::stop_token stop) {
  const auto connection = use.connection_;
  if (connection->lost || use.template_->state != Template::State::ready) co_return fail(gone_error());
  const auto state = std::make_shared<RunState>(loop_, next_request_++);
  request.spawn.run = state->id;
  request.spawn.template_id = use.template_->id;

  const bool copies = copies_inputs(request.spawn);
  auto program = launcher::pack_program(request.argv, request.environment);
  if (!program) co_return fail(program.error().with("start the function"));
  if (program->size() > launcher::kProgramInlineBytesMax) {
    auto file = launcher::sealed_memfd(*program);
    if (!file) co_return fail(file.error());
    request.descriptors.insert(request.descriptors.begin() + 3, Fd(file->release()));
  } else {
    request.spawn.program = std::move(*program);
  }
  auto bytes = launcher::encode(launcher::Request(std::move(request.spawn)));
  if (!bytes) co_return fail(bytes.error().with("start the function"));
  std::vector<int> fds;
  for (const Fd& fd : request.descriptors) fds.push_back(fd.get());

  connection->runs.emplace(state->id, state);
  const auto sent = co_await connection->socket.send(std::move(*bytes), std::move(fds), connection->stop.get_token());
  if (!sent) {
    connection->runs.erase(state->id);
    co_return fail(connection->lost ? gone_error() : sent.error().with("start the function"));
  }
  request.descriptors.clear();  // the launcher's now: our copies would keep the pipes from ending
  std::unique_ptr<EventLoop::Handle> watchdog;
  const auto expect = [&] { watchdog = expect_answer(connection, "a request to start a function"); };
  std::unique_ptr<EventLoop::Handle> patience;
  const bool by_runtime = use.template_->kind == launcher::Kind::oci;
  if (!copies && !by_runtime) expect();
  Start start;
  auto run = std::make_unique<LaunchedRun>(tasks_, connection, state);  // if we are dropped here, it is killed
  const auto end = [&] {
    run->kill(launcher::KillSignal::kill);
    expect();
  };
  const std::stop_callback on_stop(stop, end);
  if (by_runtime) patience = loop_.start_timer(options_.runtime_wait, end);
  start.refused = co_await state->started.wait();
  if (!start.refused && !state->lost) start.run = std::move(run);
  co_return std::move(start);
}

void LauncherClient::forget(const FunctionUid& function, std::uint64_t revision) {
  if (!connection_) return;
  const auto found = connection_->templates.find({function, revision});
  if (found == connection_->templates.end()) return;
  const auto dropped = found->second;
  if (dropped->users > 0) {
    dropped->forgotten = true;
  } else {
    drop(tasks_, connection_, dropped);
  }
}

Task<Result<WriteState>> LauncherClient::check(Fd file) {
  const auto connection = co_await connected({});
  if (!connection) co_return fail(connection.error());
  const launcher::CheckQuiet request{.request = next_request_++};
  auto bytes = launcher::encode(launcher::Request(request));
  if (!bytes) co_return fail(bytes.error());
  const OneShot<WriteState> answer(loop_);
  (*connection)->checks.emplace(request.request, answer);
  const auto sent =
      co_await (*connection)->socket.send(std::move(*bytes), {file.get()}, (*connection)->stop.get_token());
  if (!sent) {
    (*connection)->checks.erase(request.request);
    co_return fail(sent.error().with("ask whether a file is being written"));
  }
  file.reset();
  const auto watchdog = expect_answer(*connection, "a question about a file");
  const auto state = co_await answer.wait();
  if ((*connection)->lost) co_return fail(gone_error());
  co_return state;
}

}  // namespace millrace::launched
