// The sandboxes of one template: takes requests from its socket, makes the sandboxes, and tells of their ends. The
// conversation is described in template_process.h.
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/fd.h"
#include "runtime/launcher/namespaces.h"
#include "runtime/launcher/protocol.h"
#include "runtime/launcher/sandbox_child.h"
#include "runtime/launcher/spare_sandbox.h"
#include "runtime/launcher/spawn.h"
#include "runtime/launcher/template_process.h"
#include "runtime/launcher/vm_clone.h"

namespace millrace::launcher {

// Says it to the launcher, whose end is the end of the template.
void tell_launcher(int socket, const Answer& answer, int descriptor = -1);

// A network namespace with nothing but loopback. Reused within one function revision only: no process in it may
// change rules or addresses, so it carries nothing over but sockets, and those are checked.
struct SandboxNetwork {
  Fd descriptor;
  NetworkTables tables;
  std::uint32_t uses = 0;
};

class TemplateSandboxes {
 public:
  // In the template's user namespace, before its system call filter.
  [[nodiscard]] static std::expected<std::unique_ptr<TemplateSandboxes>, SpawnError> make(const TemplatePlan& plan,
                                                                                          int socket);

  TemplateSandboxes(const TemplateSandboxes&) = delete;
  TemplateSandboxes& operator=(const TemplateSandboxes&) = delete;

  [[noreturn]] void serve();

 private:
  static constexpr pid_t kNoProcess = -1;

  struct Sandbox {
    std::uint64_t run = 0;
    std::uint64_t spare = 0;  // its number while it waits for a run: there is none yet
    std::optional<SandboxNetwork> network;
    // While it starts and is not waited for: how that ends, and what is sent along when it has started.
    Fd outcome{};
    Fd pidfd{};
    std::uint64_t begun_us = 0;            // where a spare was given its run, CLOCK_MONOTONIC
    SpawnError failure{};                  // told when it is reaped
    std::unique_ptr<SpareSandbox> made{};  // as a spare, until it has memory of its own
  };

  // What comes behind a request's own descriptors: a private network, `tasks` files, the v2 group.
  struct Place {
    std::vector<Fd> descriptors;
    int outbound = -1;
    std::vector<int> tasks;
    int born_into = -1;
  };

  TemplateSandboxes(const TemplatePlan& plan, int socket, ChildStack stack);

  void turn();
  [[nodiscard]] bool is_untidy() const;
  void read_request();
  [[nodiscard]] std::optional<Place> split_off_place(std::vector<Fd>& descriptors, std::size_t own) const;
  void describe(ChildPlan& child, const std::optional<SandboxNetwork>& network, const Place& place) const;
  void start(Spawn request, std::vector<Fd> descriptors);
  [[nodiscard]] std::uint64_t spare_for(const Limits& limits) const;
  [[nodiscard]] bool begin_in_spare(std::unique_ptr<SpawnPlan>& plan);
  void make_spare(const MakeSpare& request, std::vector<Fd> descriptors);
  void end_spare(std::uint64_t spare);
  void kill_start(std::uint64_t run);
  void look_at_start(Sandbox& sandbox);
  void recycle(Sandbox& sandbox);
  void reap();
  void find_masks();
  [[nodiscard]] std::optional<ChildStack> take_stack();
  [[nodiscard]] std::expected<std::optional<SandboxNetwork>, SpawnError> take_network();
  void give_back(SandboxNetwork network);
  void tidy_networks();
  [[nodiscard]] bool wants_networks() const { return plan_.request.network == Network::none; }

  const TemplatePlan& plan_;
  int socket_;
  Fd child_signals_;
  ChildStack stack_;                     // of children that are waited for
  std::vector<ChildStack> idle_stacks_;  // for the next spares
  sock_fprog inner_filter_{};
  std::vector<ProcMask> masks_;
  bool has_secrets_ = false;                   // in kKeptSecretsDirectory
  bool network_refused_ = false;               // then only a run's own need tries again
  std::vector<SandboxNetwork> idle_networks_;  // a stack: the last one is warm
  std::vector<SandboxNetwork> returned_networks_;
  std::unordered_map<pid_t, Sandbox> sandboxes_;
  std::size_t starting_ = 0;  // sandboxes whose start is not waited for
  pid_t spare_ = kNoProcess;  // the one that waits for a run
};

}  // namespace millrace::launcher
