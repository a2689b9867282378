#include "runtime/launcher/spare_sandbox.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "runtime/launcher/channel.h"
#include "runtime/launcher/raw_syscall.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

constexpr std::size_t kPassedMax = 3 + 1 + kInputsMax;  // of one run: standard streams, output, inputs
constexpr std::string_view kBegin = "b";

// In the order in which the child takes them.
std::vector<int> passed_descriptors(const ChildPlan& run) {
  std::vector<int> passed(run.stdio.begin(), run.stdio.end());
  if (run.output >= 0) passed.push_back(run.output);
  for (const ChildInput& input : run.inputs) passed.push_back(input.fd);
  return passed;
}

}  // namespace

bool may_use_spare(const Spawn& request) {
  const bool copies =
      std::ranges::any_of(request.inputs, [](const Input& each) { return each.mode == InputMode::copy; });
  const std::uint64_t memory = request.limits.memory_bytes;
  return !copies && (memory == 0 || memory >= kSpareMemoryBytesMin);
}

SpareSandbox::SpareSandbox(const Limits& limits, std::vector<int> group_tasks, ChildStack stack)
    : limits_(limits),
      group_tasks_(std::move(group_tasks)),
      scratch_(ScratchOptions::of(limits)),
      stack_(std::move(stack)) {}

std::expected<std::unique_ptr<SpareSandbox>, SpawnError> SpareSandbox::make(const ChildPlan& set_up,
                                                                            const Limits& limits,
                                                                            std::vector<int> group_tasks,
                                                                            std::uint64_t namespaces, int group,
                                                                            ChildStack stack) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) < 0) {
    return std::unexpected(SpawnError{.step = Step::resources, .error = errno});
  }
  const Fd theirs(ends[1]);
  std::unique_ptr<SpareSandbox> spare(new SpareSandbox(limits, std::move(group_tasks), std::move(stack)));
  spare->socket_ = Fd(ends[0]);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  Orders& orders = spare->orders_;
  orders.socket = theirs.get();
  orders.set_up = set_up;
  orders.set_up.group_tasks = spare->group_tasks_;
  orders.set_up.scratch_options = spare->scratch_.scratch.c_str();
  orders.set_up.upper_options = spare->scratch_.upper.c_str();
  int pidfd = -1;
  clone_args arguments = clone_arguments(namespaces, group, pidfd);
  const long pid = clone_sharing_memory(arguments, spare->stack_, child, &orders);
  if (pid < 0) return std::unexpected(SpawnError{.step = Step::clone, .error = static_cast<int>(-pid)});
  spare->pid_ = static_cast<pid_t>(pid);
  spare->pidfd_ = Fd(pidfd);
  return spare;
}

void SpareSandbox::kill() {
  signal_process(pidfd_.get(), SIGKILL);
}

std::optional<SpawnApart> SpareSandbox::begin(std::unique_ptr<SpawnPlan>& plan) {
  plan->point();
  orders_.run = &plan->child();
  if (send(socket_.get(), kBegin, passed_descriptors(plan->child())) != Transfer::done) return std::nullopt;
  plan->close_descriptors();  // else the next child would have them, and hold the run's pipes open
  plan_ = std::move(plan);
  return SpawnApart{.process = {.pid = pid_, .pidfd = std::move(pidfd_)}, .outcome = std::move(socket_)};
}

// Waits for the run. The descriptors that its plan names are the template's: they come along, in the order of
// passed_descriptors(), and the plan names them as they are here. Null if what came is something else.
ChildPlan* SpareSandbox::await_run(const Orders& orders) {
  char said = 0;
  iovec part{.iov_base = &said, .iov_len = 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kPassedMax)> control;  // NOLINT: the kernel fills it
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const long got = raw::call(SYS_recvmsg, raw::word(orders.socket), raw::word(&message), MSG_CMSG_CLOEXEC);
  const cmsghdr* passed = CMSG_FIRSTHDR(&message);
  if (got != 1 || passed == nullptr || passed->cmsg_type != SCM_RIGHTS) return nullptr;
  ChildPlan& run = *orders.run;
  const bool has_output = run.output >= 0;
  const std::size_t count = (passed->cmsg_len - CMSG_LEN(0)) / sizeof(int);
  if (count != run.stdio.size() + (has_output ? 1 : 0) + run.inputs.size()) return nullptr;
  const int* next = reinterpret_cast<const int*>(CMSG_DATA(passed));  // NOLINT: aligned by what CMSG_LEN adds
  for (int& fd : run.stdio) fd = *next++;
  if (has_output) run.output = *next++;
  for (ChildInput& input : run.inputs) input.fd = *next++;
  return &run;
}

void SpareSandbox::child(void* argument) {
  Orders& orders = *static_cast<Orders*>(argument);
  SpawnError why;
  if (!set_up_sandbox(orders.set_up)) {
    why = {.step = orders.set_up.step, .error = orders.set_up.error};
  } else if (ChildPlan* run = await_run(orders)) {
    begin_in_sandbox(*run);
    why = {.step = run->step, .error = run->error};
  } else {
    why = {.step = Step::descriptors, .error = EPROTO};
  }
  raw::call(SYS_write, raw::word(orders.socket), raw::word(&why), sizeof(why));
}

}  // namespace millrace::launcher
