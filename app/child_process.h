// Starts a program from a descriptor with exactly the descriptors and rights it is given. Only for a process with one
// thread, such as the supervisor.
#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/fd.h"

namespace millrace {

struct UserIds {
  uid_t uid = 0;
  gid_t gid = 0;
};

// "millrace", "998" or "998:998"; not_found for a name that this machine does not know.
[[nodiscard]] Result<UserIds> find_user(std::string_view name);

struct ChildProgram {
  int executable = -1;  // lent
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // NAME=value
  std::vector<int> descriptors;          // lent; become 3, 4, ... and nothing else but 0 to 2 stays open
  std::optional<UserIds> user;           // becomes this user for ever, without supplementary groups
  bool no_new_privileges = false;        // neither it nor its children can gain rights by executing anything
};

struct ChildProcess {
  pid_t pid = -1;
  Fd pidfd;  // readable when it has ended
};

// The child is a process group of its own, so that keys pressed in a terminal reach only its parent, and may open as
// many files as the system lets it. An error of the exec itself is returned here.
[[nodiscard]] Result<ChildProcess> start_child(const ChildProgram& program);

// How a child ended; nothing while it runs. Called until it has ended, not afterwards.
struct ChildEnd {
  int code = 0;  // exit status, if `signal` is 0
  int signal = 0;
};
[[nodiscard]] std::optional<ChildEnd> reap(const ChildProcess& child);

// A program image in memory that nobody can change, not even this process.
[[nodiscard]] Result<Fd> sealed_program(std::string_view name, std::span<const std::byte> image);

}  // namespace millrace
