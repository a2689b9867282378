// A small world around the launcher: the test's own network namespace stands for the machine, a second one for the
// outside, with a server on port 8000 and a resolver that knows outside.example.test.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "core/fd.h"

namespace millrace::launcher {

inline constexpr const char* kMachineAddress = "203.0.113.1";
inline constexpr const char* kOutsideAddress = "203.0.113.2";
inline constexpr const char* kOtherOutsideAddress = "203.0.113.9";
inline constexpr const char* kMetadataAddress = "169.254.169.254";
inline constexpr std::uint16_t kOutsidePort = 8000;

// Puts the whole process into namespaces of its own; before any thread. Empty, or why that was not possible.
[[nodiscard]] std::string leave_the_host();

class Outside {
 public:
  Outside();
  ~Outside();
  Outside(const Outside&) = delete;
  Outside& operator=(const Outside&) = delete;

  // What came up so far; empty: everything.
  [[nodiscard]] const std::string& trouble() const { return trouble_; }
  // One more address of the machine.
  [[nodiscard]] bool add_machine_address(const std::string& address);

 private:
  void set_up();

  pid_t server_ = -1;
  Fd life_;
  std::string resolver_directory_;
  std::string layer_;  // its own resolv.conf
  std::string trouble_;
};

// A server of the machine on this address, which says "machine" to whoever comes.
class MachineServer {
 public:
  explicit MachineServer(const std::string& address);
  ~MachineServer();
  MachineServer(const MachineServer&) = delete;
  MachineServer& operator=(const MachineServer&) = delete;
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  pid_t server_ = -1;
  std::uint16_t port_ = 0;
};

// What the first answer of that server is, or the number of the error; as the machine itself.
[[nodiscard]] std::string ask(const std::string& address, std::uint16_t port);

}  // namespace millrace::launcher
