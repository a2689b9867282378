// A PostgreSQL server of a test's own: a cluster in a directory of its own, reached through a socket there, syncing as
// it does by default. Root starts it as the user `postgres`, since the server refuses root.
//
//   PostgresServer server;
//   open_postgres_state({.url = server.url(server.make_database())}, ...);
//   server.kill();           // as a power switch would, but for the disk
//   server.start();          // on the same socket and data
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace millrace::test {

class PostgresServer {
 public:
  PostgresServer();  // started, and ready; ends the program when there is none to start
  PostgresServer(const PostgresServer&) = delete;
  PostgresServer& operator=(const PostgresServer&) = delete;
  ~PostgresServer();

  // Of its administrator, unless another user is named.
  [[nodiscard]] std::string url(const std::string& database, const std::string& user = "postgres") const;

  [[nodiscard]] std::string make_database();  // an empty one, its name
  // Prints what the statements return, one row a line; they must succeed.
  std::string run(const std::string& database, const std::string& sql) const;

  void kill();
  // On a thread that lives as long as the server shall: it goes with the thread.
  void start(const std::vector<std::string>& settings = {});  // "fsync=off"
  void pause();                                               // stops every process of it where it is
  void resume();

  [[nodiscard]] std::string socket_directory() const { return directory_ / "run"; }

 private:
  [[nodiscard]] std::vector<std::string> as_its_user(std::vector<std::string> command) const;
  [[nodiscard]] bool wait_ready();
  [[nodiscard]] std::vector<pid_t> processes() const;

  TempDir directory_;
  std::string programs_;  // the directory of initdb and the others
  int databases_ = 0;
  pid_t pid_ = -1;
};

}  // namespace millrace::test
