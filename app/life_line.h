// The daemon's end of its life line: brings launcher sockets from the supervisor to the launcher client, asks for
// another one when the client lost its own, and tells when the supervisor is gone.
//
//   LifeLine life_line(loop, log, Fd(kDaemonLifeLine), client, [&] { leave(); });
//
// Thread: the loop's.
#pragma once

#include <cstdint>
#include <functional>

#include "async/event_loop.h"
#include "async/task.h"
#include "async/task_group.h"
#include "core/fd.h"
#include "net/seqpacket.h"
#include "runtime/launched/launcher_client.h"
#include "telemetry/log.h"

namespace millrace {

class LifeLine {
 public:
  using OnGone = std::move_only_function<void()>;

  // `on_gone` is called once, when the supervisor has ended: nobody would restart the launcher or us, so the daemon
  // leaves. It must not destroy this object. `client` must outlive it.
  LifeLine(EventLoop& loop, Log& log, Fd socket, launched::LauncherClient& client, OnGone on_gone);
  LifeLine(const LifeLine&) = delete;
  LifeLine& operator=(const LifeLine&) = delete;
  ~LifeLine();

 private:
  Task<void> receive();
  Task<void> send(std::string bytes);
  void report(launched::LauncherClient::Trouble trouble);

  Log& log_;
  SeqpacketSocket socket_;
  launched::LauncherClient& client_;
  OnGone on_gone_;
  std::uint64_t number_ = 0;  // of the client's socket
  TaskGroup tasks_;
};

}  // namespace millrace
