// The launcher's event loop: life line, daemon socket, ended children, memory events. One thread; the only waiting
// place is epoll_wait. protocol.h tells what the peers see of it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "runtime/launcher/cgroup.h"
#include "runtime/launcher/container_runs.h"
#include "runtime/launcher/host_rights.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/oci_runs.h"
#include "runtime/launcher/process_runs.h"
#include "runtime/launcher/protocol.h"
#include "runtime/launcher/run.h"

namespace millrace::launcher {

class Server final : private Answers, private MemoryWatch, private TemplateWatch, private KeeperWatch {
 public:
  // Takes the life line and the first daemon's socket.
  Server(const LauncherOptions& options, const HostRights& rights, Hello hello, GroupDriver& groups,
         ContainerSupport& containers, PrivateNetworks& networks, const ChildStack& stack, Fd life_line, Fd daemon);

  // Serves until the life line ends; the exit status of the program.
  int serve();

 private:
  enum class Phase : std::uint8_t {
    serving,
    ending,   // the daemon is gone: everything of it is being killed
    leaving,  // so is the supervisor
  };

  // Answers
  void send(const Answer& answer) override;
  // MemoryWatch
  void watch(int memory_event, std::uint64_t run) override;
  void forget(int memory_event) override;
  // TemplateWatch
  void watch_template(int socket, std::uint32_t template_id) override;
  void forget_template(int socket) override;
  // KeeperWatch
  void watch_keeper(int socket, pid_t keeper) override;
  void forget_keeper(int socket) override;

  [[nodiscard]] bool open();
  void turn();
  void read_life_line();
  void read_daemon();
  void reap_children();
  void handle(std::string_view bytes, Request request, std::vector<Fd> descriptors);
  void handle_one(const Prepare& request, std::vector<Fd> descriptors);
  void handle_one(const Drop& request);
  void handle_spawn(std::string_view bytes, Spawn request, std::vector<Fd> descriptors);
  void handle_one(const Kill& request);
  void handle_one(const CheckQuiet& request, const Fd& file);
  void handle_one(const Sample& request);

  void take_daemon(Fd socket);
  void end_daemon();
  [[nodiscard]] bool everything_ended() const;
  void go_on_ending();
  void flush();
  void update_interest();
  void take_memory_event(int memory_event);

  Hello hello_;
  GroupDriver& groups_;
  PrivateNetworks& networks_;
  Fd life_line_;
  Fd daemon_;
  std::optional<Fd> next_daemon_;
  Fd poll_;
  Fd child_signals_;
  Phase phase_ = Phase::serving;
  bool daemon_broken_ = false;  // its socket failed while answering
  bool look_again_soon_ = false;
  std::uint64_t ending_since_us_ = 0;
  std::uint32_t daemon_interest_ = 0;
  std::deque<std::string> outgoing_;
  std::unordered_set<std::uint32_t> process_templates_;
  std::unordered_map<int, std::uint64_t> memory_events_;  // eventfd to run
  ProcessRuns processes_;
  ContainerRuns containers_;
  OciRuns oci_;
};

}  // namespace millrace::launcher
