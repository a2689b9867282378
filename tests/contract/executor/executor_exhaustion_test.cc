// Functions that take all they can get: the daemon stays small, others go on, and nothing is left.
//
// Everything here is bounded twice: by the limits under test, and by itself (a count, a deadline), so that a limit that
// does not hold is a failed test and not a machine that is gone.
#include <sys/prctl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "tests/contract/executor/executor_fixture.h"
#include "tests/support/run_task.h"

namespace millrace::test {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kGrowthMax = 2 * kMiB;  // of the daemon's memory, whatever a function does

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MILLRACE_MEMORY_IS_NOT_OURS 1
#endif
#endif

// A line of /proc/self/status, in bytes.
std::uint64_t status_bytes(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word; file.ignore(std::numeric_limits<std::streamsize>::max(), '\n')) {
    std::uint64_t kibibytes = 0;
    if (word == key + ":" && file >> kibibytes) return kibibytes * 1024;
  }
  return 0;
}

// Every function of these has a hard end: a watchdog of its own, should nobody else stop it.
constexpr std::string_view kPython = R"(#!/usr/bin/python3
import os, signal, sys, time, mmap, socket, select, threading
signal.alarm(30)
def say(n): print(n, flush=True)
)";

// Skips the test, with a reason that is counted; nothing unbounded may start on such a host.
#define MILLRACE_NEEDS_CONTROL(name) \
  if (!has(launcher::Control::name)) GTEST_SKIP() << "this host has no control group of " #name

class ExecutorExhaustion : public ExecutorContract {
 protected:
  void SetUp() override {
    ExecutorContract::SetUp();
    if (IsSkipped()) return;
    // What is allocated once is.
    ASSERT_TRUE(run(small_spec("#!/bin/sh\nhead -c 1000000 /dev/zero\n")));
    ASSERT_TRUE(run(neighbour()));
    ::prctl(PR_SET_DUMPABLE, 1);  // the change of user took that, and with it the right to the file
    std::ofstream("/proc/self/clear_refs") << 5;
    before_ = status_bytes("VmRSS");
  }

  void TearDown() override {
    if (!IsSkipped()) {
      EXPECT_EQ(processes_in_groups(), 0U);
#ifndef MILLRACE_MEMORY_IS_NOT_OURS
      EXPECT_LT(status_bytes("VmHWM"), before_ + kGrowthMax + allowed_);
#endif
    }
    ExecutorContract::TearDown();
  }

  // Within limits that hold every shape of flood here.
  FunctionSpec small_spec(std::string script) {
    FunctionSpec function = spec(std::move(script));
    function.memory_bytes = 64 * kMiB;
    function.limits.pids = 48;
    function.limits.open_files = 256;
    function.limits.scratch_bytes = 8 * kMiB;
    function.timeout = std::chrono::seconds(10);
    function.grace = std::chrono::milliseconds(0);
    return function;
  }
  FunctionSpec python(const std::string& body) { return small_spec(std::string(kPython) + body); }
  FunctionSpec neighbour() { return small_spec("#!/bin/sh\necho here\n"); }

  // Not of what waits for a run, which has the template's name until then, nor of what is gone meanwhile.
  static bool is_of_a_run(const std::string& pid) {
    std::ifstream file("/proc/" + pid + "/comm");
    std::string name;
    return std::getline(file, name) && name != "millrace-templ";
  }
  std::size_t processes_in_groups() {
    std::size_t count = 0;
    const std::string prefix = "mrtest-" + std::to_string(::getpid());
    for (const char* hierarchy : {"/sys/fs/cgroup/unified/", "/sys/fs/cgroup/", "/sys/fs/cgroup/pids/"}) {
      std::error_code error;
      for (const auto& entry : std::filesystem::directory_iterator(hierarchy + prefix, error)) {
        if (!entry.path().filename().string().starts_with("run-")) continue;
        std::ifstream members(entry.path() / "cgroup.procs");
        for (std::string pid; std::getline(members, pid);) count += is_of_a_run(pid) ? 1 : 0;
      }
    }
    return count;
  }

  struct Beside {
    Result<Execution> flood;
    int served = 0;
  };
  // Runs the flood, and one after the other as many neighbours while it lasts.
  Beside run_beside(FunctionSpec flood, int neighbours) {
    struct Both {
      static Task<void> serve(Executor& executor, std::vector<ExecutionRequest> requests, int& served) {
        for (ExecutionRequest& what : requests) {
          const auto execution = co_await executor.run(std::move(what), {});
          if (execution && execution->result == "here\n") ++served;
        }
      }
      static Task<void> flood(Executor& executor, ExecutionRequest what, Result<Execution>& into) {
        into = co_await executor.run(std::move(what), {});
      }
      static Task<int> run(EventLoop& loop, Executor& executor, ExecutionRequest flooding,
                           std::vector<ExecutionRequest> requests, Beside& result) {
        TaskGroup group(loop);
        group.spawn(flood(executor, std::move(flooding), result.flood));
        group.spawn(serve(executor, std::move(requests), result.served));
        co_await group.join();
        co_return 0;
      }
    };
    Beside result;
    std::vector<ExecutionRequest> requests;
    const FunctionSpec function = neighbour();
    for (int i = 0; i < neighbours; ++i) requests.push_back(request(function));
    auto flooding = request(std::move(flood));
    run_task(*loop_, Both::run(*loop_, *executor_, std::move(flooding), std::move(requests), result));
    return result;
  }

  std::uint64_t before_ = 0;
  std::uint64_t allowed_ = 0;  // of the daemon's memory beyond the bound: a result is its own to keep
};

// Our own containers and those of one runtime, which share what holds limits; the others are the same code.
INSTANTIATE_TEST_SUITE_P(Executors, ExecutorExhaustion, testing::Values(kBackends[1], kBackends[2]), name_of_backend);

// ---- memory

class ExecutorMemoryBomb : public ExecutorExhaustion {
 protected:
  void expect_out_of_memory(FunctionSpec function) {
    if (!has(launcher::Control::memory)) GTEST_SKIP() << "no memory controller on this host";
    function.limits.scratch_bytes = 512 * kMiB;
    function.limits.open_files = 1024;
    const auto beside = run_beside(std::move(function), 3);
    ASSERT_TRUE(beside.flood) << describe(beside.flood);
    EXPECT_EQ(beside.flood->outcome, AttemptOutcome::out_of_memory) << describe(beside.flood);
    EXPECT_EQ(beside.served, 3);
  }
};

INSTANTIATE_TEST_SUITE_P(Executors, ExecutorMemoryBomb, testing::Values(kBackends[1], kBackends[2]), name_of_backend);

TEST_P(ExecutorMemoryBomb, OfOneLargePiece) {
  expect_out_of_memory(python("b = b'x' * (200 << 20)\nsay(len(b))"));
}

TEST_P(ExecutorMemoryBomb, OfManySmallPieces) {
  expect_out_of_memory(python("l = []\nfor i in range(3000): l.append(bytearray(100000))\nsay(len(l))"));
}

TEST_P(ExecutorMemoryBomb, InAChildThatItsParentSurvives) {
  expect_out_of_memory(python(
      "if os.fork() == 0:\n  b = b'x' * (200 << 20)\n  os._exit(0)\nos.wait()\ntime.sleep(20)\nsay('survived')"));
}

TEST_P(ExecutorMemoryBomb, InManyChildrenTogether) {
  expect_out_of_memory(
      python("for i in range(20):\n  if os.fork() == 0:\n    b = b'x' * (10 << 20)\n    time.sleep(20)\n    "
             "os._exit(0)\ntime.sleep(20)"));
}

TEST_P(ExecutorMemoryBomb, OfFilesInTmp) {
  expect_out_of_memory(small_spec("#!/bin/sh\nhead -c 200000000 /dev/zero > /tmp/big\nsleep 20\n"));
}

TEST_P(ExecutorMemoryBomb, OfSharedMemory) {
  expect_out_of_memory(
      python("f = open('/dev/shm/big', 'wb')\nfor i in range(200): f.write(b'x' * (1 << 20))\ntime.sleep(20)"));
}

TEST_P(ExecutorMemoryBomb, OfFilesWithoutAName) {
  expect_out_of_memory(
      python("f = os.memfd_create('big')\nfor i in range(200): os.write(f, b'x' * (1 << 20))\ntime.sleep(20)"));
}

TEST_P(ExecutorMemoryBomb, OfPageTables) {
  // A byte in each 2 MiB: 4 KiB of data and 4 KiB of table for each, of 40,000 at most.
  expect_out_of_memory(
      python("m = mmap.mmap(-1, 80 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)\n"
             "m.madvise(15)\n"
             "for i in range(0, 80 << 30, 2 << 20): m[i] = 1\nsay('done')"));
}

// ---- numbers of things

TEST_P(ExecutorExhaustion, AForkBombOfProcessesThatFork) {
  MILLRACE_NEEDS_CONTROL(pids);
  FunctionSpec function = python(
      "end = time.time() + 8\nsay('ready')\nwhile time.time() < end:\n  try: os.fork()\n  except OSError: pass\n");
  function.timeout = std::chrono::seconds(1);
  const auto beside = run_beside(std::move(function), 5);
  ASSERT_TRUE(beside.flood) << describe(beside.flood);
  EXPECT_EQ(beside.flood->outcome, AttemptOutcome::timed_out) << describe(beside.flood);
  EXPECT_EQ(beside.served, 5);
}

TEST_P(ExecutorExhaustion, ThreadsEndAtTheLimitOfProcesses) {
  MILLRACE_NEEDS_CONTROL(pids);
  const auto execution =
      run(python("n = 0\ndef wait(): time.sleep(20)\ntry:\n  while n < 500:\n    threading.Thread(target=wait, "
                 "daemon=True).start()\n"
                 "    n += 1\nexcept RuntimeError: pass\nsay(n)\nos._exit(0)"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded) << describe(execution);
  EXPECT_LT(std::stoi(execution->result), 48) << describe(execution);
}

TEST_P(ExecutorExhaustion, DescriptorsOfEveryKindEndAtTheirLimit) {
  const auto execution = run(python(R"(
def count(make):
  kept = []
  try:
    while len(kept) < 5000: kept.append(make())
  except OSError as e: pass
  n = len(kept)
  for k in kept:
    for f in (k if isinstance(k, tuple) else (k,)):
      (os.close(f) if isinstance(f, int) else f.close())
  return n
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
  fd = getattr(libc, name)(*arguments)
  if fd < 0: raise OSError(ctypes.get_errno(), name)
  return fd
say(max(count(lambda: os.open('/dev/null', os.O_RDONLY)), count(os.pipe),
        count(lambda: socket.socket(socket.AF_UNIX)), count(lambda: socket.socketpair()),
        count(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)), count(select.epoll),
        count(lambda: call('inotify_init1', 0)), count(lambda: call('eventfd', 0, 0)), count(lambda: os.memfd_create('x'))))
)"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded) << describe(execution);
  EXPECT_LE(std::stoi(execution->result), 256) << describe(execution);
}

TEST_P(ExecutorExhaustion, QueuesAndSegmentsGoWithTheRun) {
  // What the kernel keeps for whoever made it lies in namespaces of the run.
  const auto execution = run(python(R"(
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
made = 0
for i in range(200):
  if libc.shmget(0, 1 << 20, 0o1666) >= 0: made += 1
  if libc.msgget(0, 0o1666) >= 0: made += 1
  if libc.semget(0, 10, 0o1666) >= 0: made += 1
say(made)
)"));
  ASSERT_TRUE(execution) << describe(execution);
  const auto next = run(small_spec("#!/bin/sh\nwc -l < /proc/sysvipc/shm; wc -l < /proc/sysvipc/msg\n"));
  ASSERT_TRUE(next) << describe(next);
  EXPECT_EQ(next->result, "1\n1\n") << describe(next);
}

TEST_P(ExecutorExhaustion, BuffersOfPipesCount) {
  MILLRACE_NEEDS_CONTROL(memory);
  // A pipe may hold 1 MiB, and the user's share of pipes is one for all its functions: what is written into them is the
  // memory of who writes.
  const auto beside = run_beside(python(R"(
import fcntl
kept = []
try:
  for i in range(120):
    r, w = os.pipe()
    kept.append((r, w))
    try: fcntl.fcntl(w, 1031, 1 << 20)
    except OSError: pass
    os.set_blocking(w, False)
    try:
      while True: os.write(w, b'x' * 65536)
    except BlockingIOError: pass
except OSError: pass
say('full')
)"),
                                 3);
  ASSERT_TRUE(beside.flood) << describe(beside.flood);
  EXPECT_TRUE(beside.flood->outcome == AttemptOutcome::out_of_memory || beside.flood->result == "full\n")
      << describe(beside.flood);
  EXPECT_EQ(beside.served, 3);
}

TEST_P(ExecutorExhaustion, ATreeInTheMiddleOfVforkEnds) {
  // The parent of a vfork waits in the kernel until its child executes or ends, which this one does not.
  FunctionSpec function = python(
      "import ctypes\nlibc = ctypes.CDLL(None)\nsay('ready')\nif libc.syscall(58) == 0:\n  libc.sleep(25)\n  "
      "libc._exit(0)\n");
  function.timeout = std::chrono::milliseconds(800);
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::timed_out) << describe(execution);
}

// ---- disk

TEST_P(ExecutorExhaustion, ScratchEndsAtItsBytesAndFiles) {
  const auto execution = run(python(R"(
import errno
def fill(path):
  try:
    with open(path, 'wb', buffering=0) as f:
      for i in range(64): f.write(b'x' * (1 << 20))
  except OSError as e: return errno.errorcode[e.errno]
  finally:
    size = os.path.getsize(path); os.unlink(path)
    if size > 8 << 20: say('beyond')
def files(place):
  try:
    for i in range(200000): os.close(os.open(f'{place}/f{i}', os.O_CREAT | os.O_WRONLY))
  except OSError as e: return errno.errorcode[e.errno]
say(' '.join(str(x) for x in (fill('/tmp/a'), fill('/dev/shm/a'), files('/tmp'))))
)"));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->result, "ENOSPC ENOSPC ENOSPC\n") << describe(execution);
}

TEST_P(ExecutorExhaustion, FilesThatChangeWhileTheyAreMeasuredAreBounded) {
  // Swapped for links, directories and back, and growing, while the daemon looks at them.
  FunctionSpec function = small_spec(
      "cd \"$TMP_OUTPUT_DIR\"\nmkdir d; echo x > d/f\nend=$(($(date +%s) + 8))\n"
      "while [ $(date +%s) -lt $end ]; do\n"
      "  mv d e; ln -s / d; rm d; ln -s /etc/passwd d; rm d; mkdir d; rmdir d; mv e d; echo xxxxxxxx >> grow\ndone\n");
  function.timeout = std::chrono::milliseconds(1200);
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::timed_out) << describe(execution);
  EXPECT_LT(execution->usage.output_bytes, kMiB);  // nothing of / or /etc is among it
}

TEST_P(ExecutorExhaustion, AFileThatGrowsWithoutEndIsEnded) {
  FunctionSpec function = small_spec(
      "#!/bin/sh\ncd \"$TMP_OUTPUT_DIR\"\ni=0\nwhile [ $i -lt 4000 ]; do head -c 100000 /dev/zero >> grow$((i % 3)); "
      "i=$((i+1)); done\n");
  function.limits.output_bytes = 4 * kMiB;
  function.timeout = std::chrono::seconds(60);  // slow machines
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::output_too_large) << describe(execution);
}

TEST_P(ExecutorExhaustion, SparseFilesCountAsWhatTheyPretend) {
  FunctionSpec function = small_spec(
      "#!/bin/sh\ncd \"$TMP_OUTPUT_DIR\"\ntruncate -s 1T huge\nfor i in 1 2 3 4; do truncate -s 1M $i; done\nsleep "
      "8\n");
  function.limits.output_bytes = 2 * kMiB;
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::output_too_large) << describe(execution);
  EXPECT_LE(std::filesystem::file_size(outputs() + "/huge"), 2 * kMiB + 1);
}

// ---- output

TEST_P(ExecutorExhaustion, AFloodOnBothStreamsIsCounted) {
  // Of a length that is known, however fast the machine is.
  FunctionSpec function =
      small_spec("#!/bin/sh\nyes stdout | head -c 10000000 & yes stderr | head -c 10000000 >&2 & wait\n");
  function.limits.log_bytes = 4096;
  function.limits.result_bytes = 4096;
  function.timeout = std::chrono::seconds(60);
  const auto beside = run_beside(std::move(function), 5);
  ASSERT_TRUE(beside.flood) << describe(beside.flood);
  EXPECT_EQ(beside.flood->outcome, AttemptOutcome::succeeded) << describe(beside.flood);
  EXPECT_EQ(beside.flood->log_bytes, 20'000'000U);
  EXPECT_LT(beside.flood->log_tail.size(), 3 * 4096U);
  EXPECT_TRUE(beside.flood->result_truncated);
  EXPECT_EQ(beside.served, 5);
}

TEST_P(ExecutorExhaustion, AFloodWithoutEndIsEndedInTime) {
  FunctionSpec function = small_spec("#!/bin/sh\nyes stdout & yes stderr >&2 & wait\n");
  function.limits.log_bytes = 4096;
  function.limits.result_bytes = 4096;
  // Where all is slow, the first of them is over before there is a flood.
  for (const auto timeout : {std::chrono::milliseconds(1500), std::chrono::milliseconds(60'000)}) {
    function.timeout = timeout;
    const auto beside = run_beside(function, 5);
    ASSERT_TRUE(beside.flood) << describe(beside.flood);
    EXPECT_EQ(beside.flood->outcome, AttemptOutcome::timed_out);
    EXPECT_LT(beside.flood->log_tail.size(), 3 * 4096U);
    EXPECT_EQ(beside.served, 5);
    if (beside.flood->log_bytes > 2 * 4096U) return;
  }
  FAIL() << "it wrote nothing in a minute";
}

TEST_P(ExecutorExhaustion, ALineOfAHundredMegabytesIsCut) {
  FunctionSpec function =
      small_spec("#!/bin/sh\nhead -c 100000000 /dev/zero | tr '\\0' x >&2; printf '\\na\\0b\\033[2Jc\\377' >&2\n");
  function.limits.log_bytes = 8192;
  function.timeout = std::chrono::seconds(60);
  const auto execution = run(std::move(function));
  ASSERT_TRUE(execution) << describe(execution);
  EXPECT_EQ(execution->outcome, AttemptOutcome::succeeded) << describe(execution);
  EXPECT_EQ(execution->log_bytes, 100'000'010U);
  EXPECT_LT(execution->log_tail.size(), 10'000U);
  EXPECT_TRUE(execution->log_tail.ends_with(std::string_view("a\0b\033[2Jc\377", 9)));
}

// ---- cpu

TEST_P(ExecutorExhaustion, AQuotaHolds) {
  MILLRACE_NEEDS_CONTROL(cpu_quota);
  FunctionSpec function = python("end = time.time() + 8\nwhile time.time() < end: pass\n");
  function.limits.cpu_millicores = 50;  // less than its share of a machine that is busy elsewhere
  function.timeout = std::chrono::milliseconds(1500);
  const auto beside = run_beside(std::move(function), 5);
  ASSERT_TRUE(beside.flood) << describe(beside.flood);
  const Usage& usage = beside.flood->usage;
  EXPECT_GT(usage.throttled_us, 0U);
  // A twentieth of the time that passed, and a period more. What an OCI runtime does before the start counts, too.
  EXPECT_LT(usage.cpu_us, (usage.start_us + usage.wall_us) / 20 + 100'000) << usage.start_us << " " << usage.wall_us;
  EXPECT_EQ(beside.served, 5);
}

}  // namespace
}  // namespace millrace::test
