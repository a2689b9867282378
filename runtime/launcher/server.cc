#include "runtime/launcher/server.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "runtime/launcher/channel.h"
#include "runtime/launcher/quiet.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

constexpr int kEventsMax = 64;
constexpr int kRequestsPerTurn = 16;
constexpr int kLookAgainMs = 5;
constexpr int kTidyAgainMs = 1;
constexpr std::uint64_t kEndingPatienceUs = 10'000'000;  // then leave although something does not die (D state)

// What an event belongs to: kind in the upper half; descriptor, template id or keeper's pid in the lower.
enum class Source : std::uint32_t { life_line = 1, daemon, children, memory, templates, addresses, keepers };

std::uint64_t tag(Source source, std::uint32_t id) {
  return std::uint64_t{static_cast<std::uint32_t>(source)} << 32 | id;
}

bool add(int poll, int fd, Source source, std::uint32_t id, std::uint32_t events = EPOLLIN) {
  epoll_event event{.events = events, .data = {.u64 = tag(source, id)}};
  return ::epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event) == 0;
}

}  // namespace

Server::Server(const LauncherOptions& options, const HostRights& rights, Hello hello, GroupDriver& groups,
               ContainerSupport& containers, PrivateNetworks& networks, const ChildStack& stack, Fd life_line,
               Fd daemon)
    : hello_(std::move(hello)),
      groups_(groups),
      networks_(networks),
      life_line_(std::move(life_line)),
      next_daemon_(std::move(daemon)),
      processes_(options, rights, stack, groups, *this, *this,
                 [this](pid_t pid) {
                   return containers_.is_template(pid) || networks_.is_helper(pid) || oci_.is_keeper(pid);
                 }),
      containers_(options, containers, networks, groups, *this, *this, *this),
      oci_(options, containers, groups, *this, *this, *this) {}

bool Server::open() {
  sigset_t children;
  ::sigemptyset(&children);
  ::sigaddset(&children, SIGCHLD);
  child_signals_ = Fd(::signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK));
  poll_ = Fd(::epoll_create1(EPOLL_CLOEXEC));
  return child_signals_ && poll_ && add(poll_.get(), child_signals_.get(), Source::children, 0) &&
         add(poll_.get(), life_line_.get(), Source::life_line, 0) &&
         (networks_.address_news() < 0 || add(poll_.get(), networks_.address_news(), Source::addresses, 0));
}

int Server::serve() {
  if (!open()) return 1;
  if (launcher::send(life_line_.get(), std::string_view(&kLifeLineReady, 1)) != Transfer::done) return 1;
  take_daemon(*std::exchange(next_daemon_, std::nullopt));
  for (;;) {
    turn();
    if (phase_ == Phase::leaving && everything_ended()) return 0;
    const bool patient = monotonic_us() - ending_since_us_ < kEndingPatienceUs;
    if (phase_ == Phase::leaving && !patient) return 1;
  }
}

void Server::turn() {
  std::array<epoll_event, kEventsMax> events{};
  // Postponed work is done when nothing else is waiting.
  int count = ::epoll_wait(poll_.get(), events.data(), kEventsMax, 0);
  if (count == 0 && !groups_.tidy() && !containers_.tidy()) {
    const int timeout_ms = containers_.tidies_later() ? kTidyAgainMs : look_again_soon_ ? kLookAgainMs : -1;
    count = ::epoll_wait(poll_.get(), events.data(), kEventsMax, timeout_ms);
  }
  // The life line first: when the supervisor is gone, nothing the others say matters.
  const auto ready = [&events, count](Source source) {
    return std::any_of(events.begin(), events.begin() + std::max(count, 0), [source](const epoll_event& event) {
      return event.data.u64 >> 32 == static_cast<std::uint32_t>(source);
    });
  };
  if (ready(Source::life_line)) read_life_line();
  if (ready(Source::addresses)) networks_.take_address_news();
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events.at(static_cast<std::size_t>(i));
    const auto id = static_cast<std::uint32_t>(event.data.u64);
    if (event.data.u64 >> 32 == static_cast<std::uint32_t>(Source::templates)) containers_.read_template(id);
    if (event.data.u64 >> 32 == static_cast<std::uint32_t>(Source::keepers)) oci_.read_keeper(static_cast<pid_t>(id));
    if (event.data.u64 >> 32 == static_cast<std::uint32_t>(Source::memory)) take_memory_event(static_cast<int>(id));
  }
  if (ready(Source::children)) reap_children();
  look_again_soon_ = processes_.look_again();
  look_again_soon_ = containers_.look_again() || look_again_soon_;
  look_again_soon_ = oci_.look_again() || look_again_soon_;
  if (ready(Source::daemon) && daemon_) read_daemon();
  if (daemon_) flush();
  if (daemon_broken_) end_daemon();
  if (phase_ != Phase::serving) go_on_ending();
}

void Server::read_life_line() {
  Datagram got;
  switch (receive(life_line_.get(), got)) {
    case Transfer::would_block: return;
    case Transfer::done:
      if (got.bytes.size() == 1 && got.bytes.front() == kLifeLineNewDaemon && got.descriptors.size() == 1) {
        next_daemon_ = std::move(got.descriptors.front());
        end_daemon();
        return;
      }
      [[fallthrough]];
    default:
      end_daemon();
      phase_ = Phase::leaving;
      next_daemon_.reset();
      ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, life_line_.get(), nullptr);
      life_line_.reset();
  }
}

void Server::reap_children() {
  reap_ended(child_signals_, [this](pid_t pid, int status, const rusage& used) {
    // Others are leftovers of runs of the kind `process`, adopted and killed.
    static_cast<void>(processes_.reaped(pid, status, used) || containers_.reaped(pid) || networks_.reaped(pid) ||
                      oci_.reaped(pid, status));
  });
}

// ---- the daemon's socket

void Server::take_daemon(Fd socket) {
  daemon_ = std::move(socket);
  daemon_interest_ = EPOLLIN;
  daemon_broken_ = false;
  phase_ = Phase::serving;
  if (!add(poll_.get(), daemon_.get(), Source::daemon, 0)) daemon_broken_ = true;
  send(hello_);
}

void Server::end_daemon() {
  if (phase_ != Phase::serving) return;
  phase_ = Phase::ending;
  ending_since_us_ = monotonic_us();
  if (daemon_) ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, daemon_.get(), nullptr);
  daemon_.reset();
  outgoing_.clear();
  process_templates_.clear();
  go_on_ending();
}

bool Server::everything_ended() const {
  return processes_.size() == 0 && containers_.size() == 0 && containers_.templates() == 0 && oci_.size() == 0 &&
         oci_.templates() == 0;
}

void Server::go_on_ending() {
  if (everything_ended()) {
    if (phase_ == Phase::ending && next_daemon_.has_value()) take_daemon(*std::exchange(next_daemon_, std::nullopt));
    return;
  }
  // Repeated: a start may have been under way in a template.
  processes_.kill_all();
  containers_.kill_all();
  oci_.kill_all();
  look_again_soon_ = true;
}

void Server::read_daemon() {
  for (int i = 0; i < kRequestsPerTurn && outgoing_.size() <= kOutgoingMax; ++i) {
    Datagram got;
    const Transfer transfer = receive(daemon_.get(), got);
    if (transfer == Transfer::would_block) return;
    if (transfer != Transfer::done) return end_daemon();
    auto request = decode_request(got.bytes);
    if (!request || got.descriptors.size() != descriptors_of(*request)) return end_daemon();
    handle(got.bytes, std::move(*request), std::move(got.descriptors));
    if (!daemon_) return;
  }
}

void Server::handle(std::string_view bytes, Request request, std::vector<Fd> descriptors) {
  if (auto* prepare = std::get_if<Prepare>(&request)) {
    handle_one(*prepare, std::move(descriptors));
  } else if (auto* spawn = std::get_if<Spawn>(&request)) {
    handle_spawn(bytes, std::move(*spawn), std::move(descriptors));
  } else if (auto* drop = std::get_if<Drop>(&request)) {
    handle_one(*drop);
  } else if (auto* kill = std::get_if<Kill>(&request)) {
    handle_one(*kill);
  } else if (auto* check = std::get_if<CheckQuiet>(&request)) {
    handle_one(*check, descriptors.front());
  } else if (auto* sample = std::get_if<Sample>(&request)) {
    handle_one(*sample);
  } else {
    end_daemon();  // what only templates are told
  }
}

void Server::handle_one(const Prepare& request, std::vector<Fd> descriptors) {
  const auto id = request.template_id;
  if (process_templates_.contains(id) || containers_.has_template(id) || oci_.has_template(id)) return end_daemon();
  const auto refuse = [this, id](int error, std::string text) {
    send(PrepareFailed{.template_id = id, .step = Step::request, .error = error, .text = std::move(text)});
  };
  if (process_templates_.size() + containers_.templates() + oci_.templates() >= kTemplatesMax) {
    return refuse(EAGAIN, "too many templates");
  }
  if (request.kind == Kind::container) return containers_.prepare(request, std::move(descriptors));
  if (request.kind == Kind::oci) return oci_.prepare(request, std::move(descriptors));
  if (!descriptors.empty()) return refuse(EINVAL, "the kind process takes no script and no directory");
  process_templates_.insert(id);
  send(Prepared{.template_id = id, .files = FileAccess::none});
}

void Server::handle_one(const Drop& request) {
  if (process_templates_.erase(request.template_id) != 0) {
    processes_.kill_template(request.template_id);
  } else if (oci_.has_template(request.template_id)) {
    oci_.drop(request.template_id);
  } else {
    containers_.drop(request.template_id);
  }
}

void Server::handle_spawn(std::string_view bytes, Spawn request, std::vector<Fd> descriptors) {
  const std::uint64_t received_us = monotonic_us();
  if (processes_.has(request.run) || containers_.has(request.run) || oci_.has(request.run)) return end_daemon();
  if (processes_.size() + containers_.size() + oci_.size() >= kRunsMax) {
    return send(SpawnFailed{.run = request.run, .step = Step::request, .error = EAGAIN});
  }
  if (process_templates_.contains(request.template_id)) {
    processes_.spawn(std::move(request), std::move(descriptors), received_us);
  } else if (oci_.has_template(request.template_id)) {
    oci_.spawn(std::move(request), std::move(descriptors), received_us);
  } else {
    containers_.spawn(bytes, request, std::move(descriptors), received_us);
  }
}

void Server::handle_one(const Kill& request) {
  static_cast<void>(processes_.kill(request.run, request.signal) || oci_.kill(request.run, request.signal) ||
                    containers_.kill(request.run, request.signal));
  look_again_soon_ = true;  // one that is on its way may have to be killed again
}

void Server::handle_one(const CheckQuiet& request, const Fd& file) {
  send(Quiet{.request = request.request, .state = check_quiet(file.get())});
}

void Server::handle_one(const Sample& request) {
  Sampled answer;
  answer.run = request.run;
  answer.known = processes_.sample(request.run, answer.usage) || containers_.sample(request.run, answer.usage) ||
                 oci_.sample(request.run, answer.usage);
  send(answer);
}

// ---- answers

void Server::send(const Answer& answer) {
  if (!daemon_) return;
  auto bytes = encode(answer);
  // Only a field of ours can be over its bound; the daemon must not wait for an answer that cannot be said.
  if (!bytes) daemon_broken_ = true;
  if (daemon_broken_) return;
  outgoing_.push_back(std::move(*bytes));
  flush();
}

void Server::flush() {
  while (!outgoing_.empty()) {
    const Transfer sent = launcher::send(daemon_.get(), outgoing_.front());
    if (sent == Transfer::would_block) break;
    if (sent != Transfer::done) {
      // Ended by the turn's own end: callers of send() may be going through their tables.
      daemon_broken_ = true;
      return;
    }
    outgoing_.pop_front();
  }
  update_interest();
}

void Server::update_interest() {
  const std::uint32_t wanted = (outgoing_.size() <= kOutgoingMax ? EPOLLIN : 0U) | (outgoing_.empty() ? 0U : EPOLLOUT);
  if (wanted == daemon_interest_) return;
  daemon_interest_ = wanted;
  epoll_event event{.events = wanted, .data = {.u64 = tag(Source::daemon, 0)}};
  ::epoll_ctl(poll_.get(), EPOLL_CTL_MOD, daemon_.get(), &event);
}

// ---- what runs ask to be watched

void Server::watch(int memory_event, std::uint64_t run) {
  if (memory_event < 0) return;
  if (const auto known = memory_events_.find(memory_event); known != memory_events_.end()) {
    known->second = run;
  } else if (add(poll_.get(), memory_event, Source::memory, static_cast<std::uint32_t>(memory_event))) {
    memory_events_[memory_event] = run;
  }
}

void Server::forget(int memory_event) {
  if (memory_events_.erase(memory_event) != 0) ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, memory_event, nullptr);
}

void Server::take_memory_event(int memory_event) {
  std::uint64_t count = 0;
  const auto found = memory_events_.find(memory_event);
  if (found == memory_events_.end() || ::read(memory_event, &count, sizeof(count)) < 0) return;
  const std::uint64_t run = found->second;
  if (!processes_.memory_event(run) && !oci_.memory_event(run)) containers_.memory_event(run);
}

void Server::watch_template(int socket, std::uint32_t template_id) {
  static_cast<void>(add(poll_.get(), socket, Source::templates, template_id));
}

void Server::forget_template(int socket) {
  ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, socket, nullptr);
}

void Server::watch_keeper(int socket, pid_t keeper) {
  static_cast<void>(add(poll_.get(), socket, Source::keepers, static_cast<std::uint32_t>(keeper)));
}

void Server::forget_keeper(int socket) {
  ::epoll_ctl(poll_.get(), EPOLL_CTL_DEL, socket, nullptr);
}

}  // namespace millrace::launcher
