// The launcher without the daemon: what a bare start costs. Needs root; MILLRACE_LAUNCHER names the program.
//
//   Peer peer;
//   peer.run(request_for(Peer::kContainer, "/usr/bin/true"), {null, null, null});
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/launcher/channel.h"
#include "runtime/launcher/protocol.h"

namespace millrace::launcher {

inline constexpr unsigned kDaemonUid = 1500;

inline std::string launcher_path() {
  const char* path = std::getenv("MILLRACE_LAUNCHER");
  return path != nullptr ? path : "millrace-launcher";
}

// A launcher with one template of each kind, and of an image where there is one.
class Peer {
 public:
  static constexpr std::uint32_t kContainer = 1;
  static constexpr std::uint32_t kProcess = 2;
  static constexpr std::uint32_t kCopyOnWrite = 3;  // after prepare_copy_on_write()

  // `images`: beneath which images may lie; empty: there are none.
  explicit Peer(const std::string& images = {}) {
    auto [daemon, their_daemon] = socket_pair();
    auto [life, their_life] = socket_pair();
    const std::string prefix = "--prefix=millrace-bench-" + std::to_string(::getpid());
    const std::string uid = "--daemon-uid=" + std::to_string(kDaemonUid);
    const std::string gid = "--daemon-gid=" + std::to_string(kDaemonUid);
    const std::string program = launcher_path();
    const std::string images_option = "--images=" + images;
    const pid_t pid = ::fork();
    if (pid == 0) {
      const int high_daemon = ::fcntl(their_daemon.get(), F_DUPFD, 20);
      const int high_life = ::fcntl(their_life.get(), F_DUPFD, 20);
      ::dup2(high_daemon, 3);
      ::dup2(high_life, 4);
      ::close_range(5, ~0U, 0);
      ::execl(program.c_str(), "millrace-launcher", prefix.c_str(), uid.c_str(), gid.c_str(),
              images.empty() ? nullptr : images_option.c_str(), nullptr);
      ::_exit(99);
    }
    pid_ = pid;
    socket_ = std::move(daemon);
    life_line_ = std::move(life);
    await<Hello>();
    say(Prepare{.template_id = kContainer, .kind = Kind::container}, {});
    await<Prepared>();
    say(Prepare{.template_id = kProcess, .kind = Kind::process}, {});
    await<Prepared>();
  }
  ~Peer() {
    life_line_.reset();
    ::waitpid(pid_, nullptr, 0);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  void prepare_copy_on_write(const std::string& image) {
    const Fd directory(::open(image.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    say(Prepare{.template_id = kCopyOnWrite, .kind = Kind::container, .image = Image::directory_copy},
        {directory.get()});
    await<Prepared>();
  }

  Exited run(Spawn request, const std::vector<int>& descriptors) {
    ask(std::move(request), descriptors);
    return await_exited();
  }

  // Starts without waiting; the answer is the run's number, which its Exited repeats.
  std::uint64_t ask(Spawn request, const std::vector<int>& descriptors) {
    request.run = ++runs_;
    say(request, descriptors);
    return runs_;
  }
  Exited await_exited() {
    for (;;) {
      Answer answer = next();
      if (const auto* exited = std::get_if<Exited>(&answer)) return *exited;
      if (!std::holds_alternative<Started>(answer)) std::abort();
    }
  }
  void await_started() { await<Started>(); }

  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  static std::pair<Fd, Fd> socket_pair() {
    std::array<int, 2> ends{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) std::abort();
    return {Fd(ends[0]), Fd(ends[1])};
  }

  void say(const Request& request, const std::vector<int>& descriptors) {
    const auto bytes = encode(request);
    if (!bytes || send(socket_.get(), *bytes, descriptors) != Transfer::done) std::abort();
  }
  Answer next() {
    pollfd waiting{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, 10'000) != 1 || receive(socket_.get(), datagram_) != Transfer::done) std::abort();
    auto answer = decode_answer(datagram_.bytes);
    if (!answer) std::abort();
    return std::move(*answer);
  }
  template <class T>
  T await() {
    Answer answer = next();
    if (!std::holds_alternative<T>(answer)) std::abort();
    return std::get<T>(answer);
  }

  pid_t pid_ = -1;
  Fd socket_;
  Fd life_line_;
  Datagram datagram_;
  std::uint64_t runs_ = 0;
};

inline Spawn request_for(std::uint32_t template_id, const std::string& program) {
  Spawn request;
  request.template_id = template_id;
  request.program = pack_program({program}, {"PATH=/usr/bin"}).value_or("");
  request.limits = {.memory_bytes = 128 << 20, .pids = 64};
  return request;
}

}  // namespace millrace::launcher
