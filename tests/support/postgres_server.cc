#include "tests/support/postgres_server.h"

#include <fcntl.h>
#include <pwd.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>
#include <utility>

#include "core/fd.h"

namespace millrace::test {
namespace {

constexpr std::chrono::seconds kReadyTimeout{60};  // a hang guard
constexpr std::chrono::milliseconds kPoll{10};
constexpr int kStartsMax = 200;  // what a killed server leaves running keeps the next one out for a moment

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "postgres: %s\n", why.c_str());
  std::abort();
}

// The newest version's programs, which Debian keeps out of PATH.
std::string find_programs() {
  std::string newest;
  std::error_code ignored;
  for (const auto& version : std::filesystem::directory_iterator("/usr/lib/postgresql", ignored)) {
    const std::string programs = version.path().string() + "/bin";
    if (::access((programs + "/initdb").c_str(), X_OK) == 0 && programs > newest) newest = programs;
  }
  if (newest.empty()) die("no server is installed; say scripts/install_packages test");
  return newest;
}

pid_t spawn(const std::vector<std::string>& command, int output) {
  std::vector<std::string> words = command;
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output, STDERR_FILENO);
  ::posix_spawn_file_actions_addchdir_np(&actions, "/");
  pid_t pid = -1;
  if (::posix_spawnp(&pid, argv[0], &actions, nullptr, argv.data(), environ) != 0) die("cannot start " + words[0]);
  ::posix_spawn_file_actions_destroy(&actions);
  return pid;
}

int wait_for(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

// Runs a program to its end; what it printed. Ends the test program when it fails.
std::string output_of(const std::vector<std::string>& command) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) die("no pipe");
  const Fd reading(ends[0]);
  Fd writing(ends[1]);
  const pid_t pid = spawn(command, writing.get());
  writing.reset();
  std::string text;
  std::array<char, 4096> piece{};
  for (ssize_t n = 0; (n = ::read(reading.get(), piece.data(), piece.size())) > 0;) {
    text.append(piece.data(), static_cast<std::size_t>(n));
  }
  if (wait_for(pid) != 0) die(command.back() + ": " + text);
  return text;
}

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

PostgresServer::PostgresServer() : programs_(find_programs()) {
  const std::string run = socket_directory();
  std::filesystem::create_directory(run);
  // The server's user must be able to come here.
  std::filesystem::permissions(directory_.path(), std::filesystem::perms(0755));
  if (::geteuid() == 0) {
    const passwd* user = ::getpwnam("postgres");  // NOLINT(concurrency-mt-unsafe): before any other thread
    if (user == nullptr) die("root needs the user postgres, who comes with the package postgresql-15");
    if (::chown(run.c_str(), user->pw_uid, user->pw_gid) != 0) die("cannot give away " + run);
  }
  output_of(as_its_user({programs_ + "/initdb", "--pgdata=" + run + "/data", "--auth=trust", "--username=postgres",
                         "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"}));
  start();
}

PostgresServer::~PostgresServer() {
  kill();
}

std::vector<std::string> PostgresServer::as_its_user(std::vector<std::string> command) const {
  // It goes with the thread that started it, and so with the test program, however that ends.
  std::vector<std::string> all = {"setpriv", "--pdeathsig=KILL"};
  if (::geteuid() == 0) {
    for (const char* option : {"--reuid=postgres", "--regid=postgres", "--clear-groups"}) all.emplace_back(option);
  }
  all.insert(all.end(), std::make_move_iterator(command.begin()), std::make_move_iterator(command.end()));
  return all;
}

std::string PostgresServer::url(const std::string& database, const std::string& user) const {
  return "postgres://" + user + "@/" + database + "?host=" + socket_directory();
}

std::string PostgresServer::make_database() {
  const std::string name = "test" + std::to_string(++databases_);
  run("postgres", "CREATE DATABASE " + name);
  return name;
}

std::string PostgresServer::run(const std::string& database, const std::string& sql) const {
  return output_of({programs_ + "/psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
                    "--set=ON_ERROR_STOP=1", "--dbname=" + url(database), "--command=" + sql});
}

void PostgresServer::start(const std::vector<std::string>& settings) {
  const std::string run = socket_directory();
  std::vector<std::string> command = {programs_ + "/postgres", "-D", run + "/data", "-k", run};
  // After a death it would sync each of a thousand files.
  for (const char* setting :
       {"listen_addresses=", "shared_buffers=32MB", "max_connections=60", "recovery_init_sync_method=syncfs"}) {
    command.insert(command.end(), {"-c", setting});
  }
  for (const auto& setting : settings) command.insert(command.end(), {"-c", setting});
  for (int i = 0; i < kStartsMax; ++i) {
    const Fd log(::open((directory_ / "log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    pid_ = spawn(as_its_user(command), log.get());
    if (wait_ready()) return;
    std::this_thread::sleep_for(kPoll);
  }
  die("the server does not start: " + text_of(directory_ / "log"));
}

// False when it has ended instead.
bool PostgresServer::wait_ready() {
  const auto deadline = std::chrono::steady_clock::now() + kReadyTimeout;
  const Fd nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  while (std::chrono::steady_clock::now() < deadline) {
    if (::waitpid(pid_, nullptr, WNOHANG) != 0) {
      pid_ = -1;
      return false;
    }
    const pid_t asked = spawn({programs_ + "/pg_isready", "--quiet", "--host=" + socket_directory()}, nowhere.get());
    if (wait_for(asked) == 0) return true;
    std::this_thread::sleep_for(kPoll);
  }
  die("the server is not ready in time: " + text_of(directory_ / "log"));
}

// The server's processes: the first, and those it started.
std::vector<pid_t> PostgresServer::processes() const {
  std::vector<pid_t> all = {pid_};
  const std::string children = "/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) + "/children";
  std::ifstream file(children);
  for (pid_t pid = 0; file >> pid;) all.push_back(pid);
  return all;
}

void PostgresServer::kill() {
  if (pid_ < 0) return;
  for (const pid_t pid : processes()) ::kill(pid, SIGKILL);
  wait_for(std::exchange(pid_, -1));
}

void PostgresServer::pause() {
  for (const pid_t pid : processes()) ::kill(pid, SIGSTOP);
}

void PostgresServer::resume() {
  for (const pid_t pid : processes()) ::kill(pid, SIGCONT);
}

}  // namespace millrace::test
