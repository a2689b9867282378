#include "runtime/launcher/template_process.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/launcher/channel.h"
#include "runtime/launcher/container_support.h"
#include "runtime/launcher/directory_image.h"
#include "runtime/launcher/host_image.h"
#include "runtime/launcher/namespaces.h"
#include "runtime/launcher/provided.h"
#include "runtime/launcher/seccomp.h"
#include "runtime/launcher/system.h"
#include "runtime/launcher/template_sandboxes.h"

namespace millrace::launcher {
namespace {

constexpr int kLastCapability = 63;  // more than any kernel has
// Id 0 is nobody special to execve and to changes of user, no capability becomes ambient, and all that for ever.
constexpr unsigned kLockedSecureBits = SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |
                                       SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED |
                                       SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;

bool make_inheritable(std::uint64_t capabilities) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  std::array<__user_cap_data_struct, 2> own{};
  if (::syscall(SYS_capget, &header, own.data()) < 0) return false;
  for (std::size_t half = 0; half < own.size(); ++half) {
    own[half].inheritable = static_cast<std::uint32_t>(capabilities >> (32 * half));
  }
  return ::syscall(SYS_capset, &header, own.data()) == 0;
}

class TemplateProcess {
 public:
  explicit TemplateProcess(TemplatePlan& plan) : plan_(plan), socket_(std::move(plan.socket)) {}

  [[noreturn]] void run() {
    if (auto settled = settle(); !settled) {
      const ImageError& why = settled.error();
      tell_launcher(socket_.get(), PrepareFailed{.template_id = plan_.request.template_id,
                                                 .step = why.step,
                                                 .error = why.error,
                                                 .text = explain(why.what, why.error).substr(0, kTextBytesMax)});
      ::_exit(1);
    }
    tell_launcher(socket_.get(), Prepared{.template_id = plan_.request.template_id, .files = plan_.resources.files});
    sandboxes_->serve();
  }

 private:
  std::expected<void, ImageError> settle();
  std::expected<void, ImageError> enter_image();
  [[nodiscard]] bool take_own_mounts();
  [[nodiscard]] bool become_namespace_root();

  TemplatePlan& plan_;
  Fd socket_;
  std::unique_ptr<TemplateSandboxes> sandboxes_;
};

bool TemplateProcess::take_own_mounts() {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
}

bool TemplateProcess::become_namespace_root() {
  const bool one_id = plan_.resources.one_id;
  const uid_t id = runs_as_root(plan_.request) ? kTemplateUidBeside : 0;
  if (::setns(plan_.resources.user_namespace.get(), CLONE_NEWUSER) < 0) return false;
  if (!one_id && (::setgroups(0, nullptr) < 0 || ::setresgid(id, id, id) < 0 || ::setresuid(id, id, id) < 0)) {
    return false;
  }
  // Mounts of the namespace before are locked together in this one.
  if (::unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) < 0) return false;
  // Sandboxes change no user on their way to the function: nothing of theirs may mean a right by itself.
  if (one_id && ::prctl(PR_SET_SECUREBITS, kLockedSecureBits) < 0) return false;
  // What sandboxes inherit must be made inheritable while the bounding set still has it.
  if (plan_.request.profile == Profile::compat && !make_inheritable(compat_capabilities())) return false;
  for (int capability = 0; capability <= kLastCapability; ++capability) ::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) return false;
  ::prctl(PR_SET_DUMPABLE, 0);
  // After the change of user, which clears it. The end of the socket is the second line.
  return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
}

std::expected<void, ImageError> TemplateProcess::enter_image() {
  const Prepare& request = plan_.request;
  const TemplateResources& resources = plan_.resources;
  std::vector<ProvidedFile> provided;
  if (request.provided) {
    auto packed = read_sealed_memfd(resources.provided.get(), kProvidedBytesMax);
    auto files = packed ? unpack_provided(*packed) : Result<std::vector<ProvidedFile>>(fail(packed.error()));
    if (!files) {
      return std::unexpected(ImageError{.step = Step::provided, .error = EINVAL, .what = files.error().message});
    }
    provided = std::move(*files);
  }
  Fd image;
  if (request.image != Image::host) {
    // Where one id is mapped, owners are what they are.
    auto mounted = mount_image(resources.image.get(), resources.one_id ? -1 : resources.user_namespace.get());
    if (!mounted) return std::unexpected(mounted.error());
    image = std::move(*mounted);
  }
  if (!take_own_mounts()) {
    return std::unexpected(
        ImageError{.step = Step::root_file_system, .error = errno, .what = "make a mount namespace"});
  }
  const ImagePlan plan{.options = plan_.options,
                       .request = request,
                       .script_bytes = resources.script_bytes,
                       .provided = provided,
                       .run_id = resources.run_id,
                       .root_id = resources.root_id,
                       .one_id = resources.one_id};
  return request.image == Image::host ? enter_host_image(plan) : enter_directory_image(plan, image);
}

std::expected<void, ImageError> TemplateProcess::settle() {
  const auto failed = [](Step step, const char* what) {
    return std::unexpected(ImageError{.step = step, .error = errno, .what = what});
  };
  ::prctl(PR_SET_NAME, "millrace-templ");
  ::setsid();
  // Sandboxes inherit it: a launcher that must not be killed would have functions that cannot be.
  be_killable_for_memory();
  if (auto entered = enter_image(); !entered) return std::unexpected(entered.error());
  if (!become_namespace_root()) return failed(Step::user_namespace, "enter the function's user namespace");

  auto sandboxes = TemplateSandboxes::make(plan_, socket_.get());
  if (!sandboxes) {
    const SpawnError& why = sandboxes.error();
    return std::unexpected(ImageError{.step = why.step, .error = why.error, .what = "get ready for sandboxes"});
  }
  sandboxes_ = std::move(*sandboxes);
  const sock_fprog outer_filter = program_of(plan_.outer_filter);
  if (::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &outer_filter) < 0) {
    return failed(Step::seccomp, "load the system call filter");
  }
  return {};
}

}  // namespace

void template_main(TemplatePlan plan) {
  TemplateProcess process(plan);
  process.run();
}

}  // namespace millrace::launcher
