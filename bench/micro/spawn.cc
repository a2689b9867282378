// What a start costs: the launcher's kinds beside posix_spawn of the same static program, from request to reaped.
//
//   MILLRACE_LAUNCHER=build/release/bin/millrace-launcher bench_spawn --benchmark_enable_random_interleaving=true \
//       --benchmark_repetitions=20
//
// Needs root. The ratio to PosixSpawn is the result. The program that is started is the launcher itself: without
// arguments it says how it wants to be called, and ends.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/launcher/channel.h"
#include "runtime/launcher/protocol.h"

namespace millrace::launcher {
namespace {

constexpr const char* kDaemonId = "1500";
constexpr unsigned kDaemonUid = 1500;

const char* program_path() {
  const char* path = std::getenv("MILLRACE_LAUNCHER");
  return path != nullptr ? path : "millrace-launcher";
}

std::pair<Fd, Fd> socket_pair() {
  std::array<int, 2> ends{-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) std::abort();
  return {Fd(ends[0]), Fd(ends[1])};
}

// A launcher with one template of each kind.
class Peer {
 public:
  Peer() {
    auto [daemon, their_daemon] = socket_pair();
    auto [life, their_life] = socket_pair();
    const std::string prefix = "--prefix=millrace-bench-" + std::to_string(::getpid());
    const std::string uid = std::string("--daemon-uid=") + kDaemonId;
    const std::string gid = std::string("--daemon-gid=") + kDaemonId;
    pid_ = ::fork();
    if (pid_ == 0) {
      const int high_daemon = ::fcntl(their_daemon.get(), F_DUPFD, 20);
      const int high_life = ::fcntl(their_life.get(), F_DUPFD, 20);
      ::dup2(high_daemon, 3);
      ::dup2(high_life, 4);
      ::close_range(5, ~0U, 0);
      ::execl(program_path(), "millrace-launcher", prefix.c_str(), uid.c_str(), gid.c_str(), nullptr);
      ::_exit(99);
    }
    socket_ = std::move(daemon);
    life_line_ = std::move(life);
    await<Hello>();
    say(Prepare{.template_id = 1, .kind = Kind::container}, {});
    await<Prepared>();
    say(Prepare{.template_id = 2, .kind = Kind::process}, {});
    await<Prepared>();
  }
  ~Peer() {
    life_line_.reset();
    ::waitpid(pid_, nullptr, 0);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  Exited run(Spawn request, const std::vector<int>& descriptors) {
    request.run = ++runs_;
    say(request, descriptors);
    await<Started>();
    return await<Exited>();
  }

 private:
  void say(const Request& request, const std::vector<int>& descriptors) {
    const auto bytes = encode(request);
    if (!bytes || send(socket_.get(), *bytes, descriptors) != Transfer::done) std::abort();
  }
  template <class T>
  T await() {
    pollfd waiting{.fd = socket_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, 10'000) != 1 || receive(socket_.get(), datagram_) != Transfer::done) std::abort();
    auto answer = decode_answer(datagram_.bytes);
    if (!answer || !std::holds_alternative<T>(*answer)) std::abort();
    return std::get<T>(*answer);
  }

  pid_t pid_ = -1;
  Fd socket_;
  Fd life_line_;
  Datagram datagram_;
  std::uint64_t runs_ = 0;
};

Peer& peer() {
  static const auto one = std::make_unique<Peer>();
  return *one;
}

Spawn request_for(std::uint32_t template_id, const std::string& program) {
  Spawn request;
  request.template_id = template_id;
  request.program = pack_program({program}, {"PATH=/usr/bin"}).value_or("");
  request.limits = {.memory_bytes = 128 << 20, .pids = 64};
  return request;
}

void PosixSpawn(benchmark::State& state) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  for (int fd = 0; fd < 3; ++fd) ::posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  std::string name = program_path();
  std::array<char*, 2> argv{name.data(), nullptr};
  for (auto step : state) {
    pid_t pid = -1;
    if (::posix_spawn(&pid, program_path(), &actions, nullptr, argv.data(), environ) != 0) std::abort();
    ::waitpid(pid, nullptr, 0);
  }
  ::posix_spawn_file_actions_destroy(&actions);
}
BENCHMARK(PosixSpawn)->UseRealTime();

void Process(benchmark::State& state) {
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const Spawn request = request_for(2, program_path());
  for (auto step : state) peer().run(request, {null.get(), null.get(), null.get()});
}
BENCHMARK(Process)->UseRealTime();

// The program itself is the one input; state.range(0) adds the output directory.
void Container(benchmark::State& state) {
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const Fd program(::open(program_path(), O_RDONLY | O_CLOEXEC));
  std::string directory = "/tmp/millrace-bench-XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr || ::chown(directory.c_str(), kDaemonUid, kDaemonUid) != 0) std::abort();
  const Fd output(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Spawn request = request_for(1, "/tmp/in/program");
  request.output = state.range(0) != 0;
  request.inputs = {{.name = "program"}};
  std::vector<int> descriptors{null.get(), null.get(), null.get()};
  if (request.output) descriptors.push_back(output.get());
  descriptors.push_back(program.get());
  std::uint64_t to_exec_us = 0;
  for (auto step : state) to_exec_us += peer().run(request, descriptors).usage.start_us;
  state.counters["to_exec_us"] =
      benchmark::Counter(static_cast<double>(to_exec_us), benchmark::Counter::kAvgIterations);
  ::rmdir(directory.c_str());
}
BENCHMARK(Container)->ArgName("output")->Arg(0)->Arg(1)->UseRealTime();

}  // namespace
}  // namespace millrace::launcher
