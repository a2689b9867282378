// What a start costs: the launcher's kinds beside posix_spawn of the same static program, from request to reaped.
//
//   MILLRACE_LAUNCHER=build/release/bin/millrace-launcher bench_spawn --benchmark_enable_random_interleaving=true \
//       --benchmark_repetitions=20
//
// Needs root. The ratio to spawn_posix is the result. The program that is started is the launcher itself: without
// arguments it says how it wants to be called, and ends.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "bench/event/launcher_peer.h"

namespace millrace::launcher {
namespace {

Peer& peer() {
  static const auto kPeer = std::make_unique<Peer>();
  return *kPeer;
}

void spawn_posix(benchmark::State& state) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  for (int fd = 0; fd < 3; ++fd) ::posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
  std::string name = launcher_path();
  std::array<char*, 2> argv{name.data(), nullptr};
  for (auto step : state) {
    pid_t pid = -1;
    if (::posix_spawn(&pid, name.c_str(), &actions, nullptr, argv.data(), environ) != 0) std::abort();
    ::waitpid(pid, nullptr, 0);
  }
  ::posix_spawn_file_actions_destroy(&actions);
}
BENCHMARK(spawn_posix)->UseRealTime();

void run_process(benchmark::State& state) {
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const Spawn request = request_for(Peer::kProcess, launcher_path());
  for (auto step : state) peer().run(request, {null.get(), null.get(), null.get()});
}
BENCHMARK(run_process)->UseRealTime();

// The program itself is the one input; state.range(0) adds the output directory.
void run_container(benchmark::State& state) {
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const Fd program(::open(launcher_path().c_str(), O_RDONLY | O_CLOEXEC));
  std::string directory = "/tmp/millrace-bench-XXXXXX";
  if (::mkdtemp(directory.data()) == nullptr || ::chown(directory.c_str(), kDaemonUid, kDaemonUid) != 0) std::abort();
  const Fd output(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Spawn request = request_for(Peer::kContainer, "/tmp/in/program");
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
BENCHMARK(run_container)->ArgName("output")->Arg(0)->Arg(1)->UseRealTime();

}  // namespace
}  // namespace millrace::launcher
