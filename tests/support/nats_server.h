// A nats-server of a test's own: on a free port of loopback, with a store in a directory of its own, and syncing
// before it confirms. MILLRACE_NATS_SERVER names the program (see scripts/fetch_nats_server).
//
//   NatsServer server;
//   open_nats_broker({.url = server.url()}, ...);
//   server.kill();           // as a power switch would, but for the disk
//   server.start();          // on the same port and store
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "tests/support/temp_dir.h"

namespace millrace::test {

class NatsServer {
 public:
  NatsServer();  // started, and ready; ends the program when there is none to start
  NatsServer(const NatsServer&) = delete;
  NatsServer& operator=(const NatsServer&) = delete;
  ~NatsServer();

  [[nodiscard]] std::string url() const { return "nats://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::string monitor_url() const { return "http://127.0.0.1:" + std::to_string(monitor_port_); }

  void kill();
  void start();
  void stop();  // where it is, as a hung one
  void resume();
  void empty_store();  // while it is down
  // More lines for its configuration, from the next start or reload on.
  void configure(std::string lines) { lines_ = std::move(lines); }
  void reload();                                                                    // the configuration, while it runs
  void set_max_file_store(std::string size) { max_file_store_ = std::move(size); }  // "2GB", from the next start on
  [[nodiscard]] std::string log() const;
  void set_sync_always(bool always) { sync_always_ = always; }  // from the next start on

 private:
  void write_config() const;
  [[nodiscard]] bool ready() const;

  TempDir directory_;
  std::string program_;
  int port_ = 0;
  int monitor_port_ = 0;
  bool sync_always_ = true;
  std::string lines_;
  std::string max_file_store_ = "2GB";
  pid_t pid_ = -1;
};

}  // namespace millrace::test
