#include "app/supervisor.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "app/life_line_messages.h"
#include "app/orphans.h"
#include "runtime/launcher/process_tree.h"
#include "runtime/launcher/protocol.h"

namespace millrace {
namespace {

struct SocketPair {
  Fd ours;
  Fd theirs;
};

Result<SocketPair> socket_pair() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return fail(error_from_errno(errno, "make a socket between the processes"));
  }
  return SocketPair{.ours = Fd(ends[0]), .theirs = Fd(ends[1])};
}

// One message with one descriptor. A child that does not read its life line is as good as dead, so nothing waits here.
bool send_descriptor(int socket, std::string bytes, int descriptor) {
  iovec data{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const rights = CMSG_FIRSTHDR(&message);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(rights), &descriptor, sizeof(int));
  return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(bytes.size());
}

void signal_child(const ChildProcess& child, int signal) {
  ::syscall(SYS_pidfd_send_signal, child.pidfd.get(), signal, nullptr, 0);
}

std::string describe(const ChildEnd& end) {
  if (end.signal != 0) return "killed by signal " + std::to_string(end.signal);
  return "exit status " + std::to_string(end.code);
}

int status_of(const ChildEnd& end) {
  return end.signal != 0 ? 128 + end.signal : end.code;
}

std::vector<std::string> own_environment() {
  std::vector<std::string> variables;
  for (char** variable = ::environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  return variables;
}

}  // namespace

Supervisor::Supervisor(Log& log, SupervisorOptions options) : log_(log), options_(std::move(options)) {}

Result<int> Supervisor::run() {
  if (auto opened = open(); !opened) return fail(opened.error());
  launcher_.restart_at = daemon_.restart_at = Clock::now();
  while (launcher_.alive || daemon_.alive || !stopping_) {
    Result<void> turn = stopping_ ? Result<void>() : start_due(Clock::now());
    if (turn && !stopping_) turn = connect_children();
    if (turn) turn = wait();
    if (!turn) {
      end_all();
      return fail(turn.error());
    }
    read_signals();
    read_daemon();
    read_launcher();
    look_after(daemon_);
    look_after(launcher_);
    if (stopping_) go_on_stopping(Clock::now());
  }
  if (failure_) return fail(*failure_);
  return status_;
}

Result<void> Supervisor::open() {
  auto program = sealed_program("millrace-launcher", options_.launcher_image);
  if (!program) return fail(program.error());
  launcher_program_ = std::move(*program);
  inherited_ = launcher::children_of(::getpid());
  if (auto adopting = adopt_orphans(); !adopting) return adopting;
  // Inherited as ignored, children would vanish without telling how they ended; a closed stderr must not end us.
  ::signal(SIGCHLD, SIG_DFL);
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t wanted;
  ::sigemptyset(&wanted);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&wanted, signal);
  if (::sigprocmask(SIG_BLOCK, &wanted, nullptr) != 0) return fail(error_from_errno(errno, "block signals"));
  signals_ = Fd(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals_) return fail(error_from_errno(errno, "read signals"));
  return {};
}

// ---- starting

Result<void> Supervisor::start_launcher() {
  auto socket = socket_pair();
  auto life_line = socket_pair();
  if (!socket) return fail(socket.error());
  if (!life_line) return fail(life_line.error());
  const UserIds user = options_.user.value_or(UserIds{.uid = ::geteuid(), .gid = ::getegid()});
  std::vector<std::string> argv = {"millrace-launcher"};
  argv.insert(argv.end(), options_.launcher_arguments.begin(), options_.launcher_arguments.end());
  argv.push_back("--daemon-uid=" + std::to_string(user.uid));
  argv.push_back("--daemon-gid=" + std::to_string(user.gid));
  // It may become nobody else and needs no environment.
  auto started = start_child({.executable = launcher_program_.get(),
                              .argv = std::move(argv),
                              .environment = {},
                              .descriptors = {socket->theirs.get(), life_line->theirs.get()},
                              .user = {}});
  if (!started) return fail(started.error());
  launcher_.process = std::move(*started);
  launcher_.life_line = std::move(life_line->ours);
  launcher_.alive = true;
  daemon_end_ = std::move(socket->ours);
  ++socket_number_;
  log_.info("launcher started", {{"pid", launcher_.process.pid}});
  return {};
}

Result<void> Supervisor::start_daemon() {
  auto life_line = socket_pair();
  if (!life_line) return fail(life_line.error());
  std::vector<int> descriptors = {life_line->theirs.get()};
  for (const Fd& fd : options_.daemon_descriptors) descriptors.push_back(fd.get());
  auto started = start_child({.executable = options_.executable.get(),
                              .argv = options_.daemon_arguments,
                              .environment = own_environment(),
                              .descriptors = std::move(descriptors),
                              .user = options_.user,
                              .no_new_privileges = true});
  if (!started) return fail(started.error());
  daemon_.process = std::move(*started);
  daemon_.life_line = std::move(life_line->ours);
  daemon_.alive = true;
  daemon_needs_socket_ = true;
  log_.info("daemon started", {{"pid", daemon_.process.pid}});
  return {};
}

Result<void> Supervisor::start_due(Clock::time_point now) {
  const auto due = [now](const Child& child) { return child.restart_at && *child.restart_at <= now; };
  if (due(launcher_)) {
    launcher_.restart_at.reset();
    if (auto started = start_launcher(); !started) return started;
  }
  if (due(daemon_)) {
    daemon_.restart_at.reset();
    if (auto started = start_daemon(); !started) return started;
  }
  return {};
}

Result<void> Supervisor::connect_children() {
  if (!daemon_.alive || !launcher_.alive) return {};
  if (!daemon_end_ && daemon_needs_socket_) {
    auto socket = socket_pair();
    if (!socket) return fail(socket.error());
    const std::string message(1, launcher::kLifeLineNewDaemon);
    if (!send_descriptor(launcher_.life_line.get(), message, socket->theirs.get())) {
      signal_child(launcher_.process, SIGKILL);
      return {};
    }
    daemon_end_ = std::move(socket->ours);
    ++socket_number_;
  }
  if (!daemon_end_) return {};
  const LifeLineMessage message{.kind = LifeLineMessage::kLauncherSocket, .number = socket_number_};
  if (!send_descriptor(daemon_.life_line.get(), encode(message), daemon_end_.get())) {
    signal_child(daemon_.process, SIGKILL);
  }
  daemon_end_.reset();
  daemon_needs_socket_ = false;
  return {};
}

// ---- waiting

std::optional<Supervisor::Clock::time_point> Supervisor::next_deadline() const {
  std::optional<Clock::time_point> next;
  for (const auto& deadline : {launcher_.restart_at, daemon_.restart_at, daemon_deadline_, launcher_deadline_}) {
    if (deadline && (!next || *deadline < *next)) next = deadline;
  }
  return next;
}

Result<void> Supervisor::wait() {
  int timeout_ms = -1;
  if (const auto next = next_deadline()) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(*next - Clock::now()).count();
    timeout_ms = static_cast<int>(std::clamp<long>(left, 0, 60'000));
  }
  // poll() skips negative descriptors: a child that is not there.
  std::array<pollfd, 5> sources{{{signals_.get(), POLLIN, 0},
                                 {launcher_.process.pidfd.get(), POLLIN, 0},
                                 {daemon_.process.pidfd.get(), POLLIN, 0},
                                 {launcher_.life_line.get(), POLLIN, 0},
                                 {daemon_.life_line.get(), POLLIN, 0}}};
  if (::poll(sources.data(), sources.size(), timeout_ms) < 0 && errno != EINTR) {
    return fail(error_from_errno(errno, "wait for the processes"));
  }
  return {};
}

void Supervisor::read_signals() {
  signalfd_siginfo signal{};
  while (::read(signals_.get(), &signal, sizeof(signal)) == sizeof(signal)) {
    if (!stopping_) {
      log_.info("stopping", {{"signal", static_cast<int>(signal.ssi_signo)}});
      begin_stop(0);
    } else if (daemon_.alive && Clock::now() - stop_began_ >= options_.second_signal_after) {
      log_.warn("second signal: the daemon is killed");
      signal_child(daemon_.process, SIGKILL);
    }
  }
}

void Supervisor::read_daemon() {
  std::array<char, kLifeLineBytesMax> buffer{};
  while (daemon_.life_line) {
    const ssize_t got = ::recv(daemon_.life_line.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      daemon_.life_line.reset();  // its end is told by the process
      return;
    }
    const auto message = decode_life_line({buffer.data(), static_cast<std::size_t>(got)});
    if (!message || message->number != socket_number_ || daemon_end_) continue;
    if (message->kind == LifeLineMessage::kSocketLost) daemon_needs_socket_ = true;
    if (message->kind == LifeLineMessage::kLauncherStuck && launcher_.alive) {
      log_.warn("the launcher does not answer: it is killed", {{"pid", launcher_.process.pid}});
      signal_child(launcher_.process, SIGKILL);
    }
  }
}

void Supervisor::read_launcher() {
  char byte = 0;
  while (launcher_.life_line) {
    const ssize_t got = ::recv(launcher_.life_line.get(), &byte, 1, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      launcher_.life_line.reset();
      return;
    }
    if (byte == launcher::kLifeLineReady) log_.info("launcher ready", {{"pid", launcher_.process.pid}});
  }
}

// ---- ends

void Supervisor::look_after(Child& child) {
  if (!child.alive) return;
  const auto end = reap(child.process);
  if (!end) return;
  child.alive = false;
  child.process = {};
  child.life_line.reset();
  end_what_is_left();
  if (&child == &daemon_) {
    daemon_ended(*end);
  } else {
    launcher_ended(*end);
  }
}

// Before the next one starts: where there are no control groups, nobody else could tell whose it was.
void Supervisor::end_what_is_left() {
  std::vector<pid_t> ours = inherited_;
  for (const Child* child : {&daemon_, &launcher_}) {
    if (child->alive) ours.push_back(child->process.pid);
  }
  if (!end_orphans(ours, options_.orphans_wait)) {
    log_.warn("processes of a function are killed, but do not end", {{"parent", ::getpid()}});
  }
}

void Supervisor::daemon_ended(const ChildEnd& end) {
  if (stopping_) {
    log_.info("daemon ended", {{"how", describe(end)}});
    if (status_ == 0) status_ = status_of(end);
    return;
  }
  if (end.signal == 0 && (end.code == 0 || end.code == kExitConfiguration)) {
    log_.info("daemon left", {{"how", describe(end)}});
    begin_stop(end.code);
    return;
  }
  count_death(daemon_, describe(end));
}

void Supervisor::launcher_ended(const ChildEnd& end) {
  daemon_end_.reset();
  if (stopping_) {
    log_.info("launcher ended", {{"how", describe(end)}});
    return;
  }
  count_death(launcher_, describe(end));
}

void Supervisor::count_death(Child& child, const std::string& how) {
  const auto now = Clock::now();
  child.deaths.push_back(now);
  while (now - child.deaths.front() > options_.deaths_within) child.deaths.pop_front();
  if (child.deaths.size() >= options_.deaths_max) {
    failure_ = Error{.code = Errc::unavailable,
                     .message = "the " + std::string(child.name) + " ended " + std::to_string(child.deaths.size()) +
                                " times within " + std::to_string(options_.deaths_within.count() / 1000) +
                                " s, the last time by " + how + "; what it logged above says why"};
    begin_stop(1);
    return;
  }
  const auto doubled = options_.restart_delay * (1LL << std::min<std::size_t>(child.deaths.size() - 1, 20));
  const auto delay = std::min<std::chrono::milliseconds>(doubled, options_.restart_delay_cap);
  child.restart_at = now + delay;
  log_.warn(std::string(child.name) + " died, starting it again", {{"how", how}, {"delay_ms", delay.count()}});
}

// ---- stopping

void Supervisor::begin_stop(int status) {
  stopping_ = true;
  stop_began_ = Clock::now();
  status_ = status;
  launcher_.restart_at.reset();
  daemon_.restart_at.reset();
  if (!daemon_.alive) return;
  signal_child(daemon_.process, SIGTERM);
  daemon_deadline_ = Clock::now() + options_.daemon_stop_wait;
}

// The daemon drains first, and needs the launcher for it.
void Supervisor::go_on_stopping(Clock::time_point now) {
  if (daemon_.alive) {
    if (now < *daemon_deadline_) return;
    log_.warn("the daemon does not end: it is killed");
    signal_child(daemon_.process, SIGKILL);
    daemon_deadline_ = now + options_.daemon_stop_wait;
    return;
  }
  daemon_deadline_.reset();
  if (!launcher_.alive) return;
  if (!launcher_deadline_) {
    launcher_.life_line.reset();
    launcher_deadline_ = now + options_.launcher_stop_wait;
  } else if (now >= *launcher_deadline_) {
    log_.warn("the launcher does not end: it is killed");
    signal_child(launcher_.process, SIGKILL);
    launcher_deadline_ = now + options_.launcher_stop_wait;
  }
}

// When we cannot go on ourselves: by their life lines, and surely.
void Supervisor::end_all() {
  for (Child* child : {&daemon_, &launcher_}) {
    child->life_line.reset();
    if (!child->alive) continue;
    std::array<pollfd, 1> ended{{{child->process.pidfd.get(), POLLIN, 0}}};
    const auto wait_ms = static_cast<int>(options_.launcher_stop_wait.count());
    if (::poll(ended.data(), 1, wait_ms) == 0) signal_child(child->process, SIGKILL);
    while (!reap(child->process)) static_cast<void>(::poll(ended.data(), 1, -1));
    child->alive = false;
  }
  end_what_is_left();
}

}  // namespace millrace
