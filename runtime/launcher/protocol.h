// What the daemon and the launcher say to each other: one message per datagram of a SOCK_SEQPACKET unix socket, file
// descriptors beside it by SCM_RIGHTS. This file is the pure codec (no system calls, safe on hostile bytes);
// channel.h moves datagrams and descriptors.
//
// Sockets. The supervisor starts the launcher with descriptor 3 = socket to the daemon and descriptor 4 = its life
// line (also SEQPACKET), and hands the other end of 3 to the daemon. Over the life line:
//   launcher -> supervisor  one byte kLifeLineReady, once, when it has swept, probed and serves;
//   supervisor -> launcher  one byte kLifeLineNewDaemon with exactly one descriptor: the socket of a fresh daemon. It
//                           ends everything of the daemon before it;
//   end of file             the supervisor is gone or wants an end: the launcher kills every sandbox, removes its
//                           cgroups and leaves with status 0.
// Arguments of the program: launcher_options.h.
//
// Conversation on the daemon's socket. Every new daemon socket begins with Hello from the launcher. After that the
// daemon speaks and the launcher answers; answers to different requests may overtake one another.
//   Prepare     -> Prepared | PrepareFailed
//   Drop        -> nothing. Runs of that template still going on are killed and reported by Exited.
//   Spawn       -> Started, later Exited; or SpawnFailed and nothing more. May follow Prepare at once (answers keep the
//                  order), and follows Prepared otherwise.
//   Kill        -> nothing of its own; the run's Exited follows. For an unknown or ended run it does nothing, since the
//                  end may be under way to the daemon.
//   CheckQuiet  -> Quiet
//   Sample      -> Sampled; a run that is not running answers with `known` false
// A message that the codec refuses, a wrong number of descriptors or a duplicate id is a bug of the daemon: the
// launcher closes the socket, which ends everything of this daemon.
//
// What the daemon may rely on:
//   - Exited comes once for every Started, after every process of the run is gone, whatever it did to hide.
//   - A run whose template was killed by somebody is reported as Exited{how: lost}, or as SpawnFailed{step:
//     template_died} before the launcher knew of its start: it may have begun all the same. The launcher builds the
//     template anew by itself; if that fails it says PrepareFailed a second time, and the template is unknown then.
//   - When the launcher dies every sandbox dies with it (the daemon sees end of file on its socket). Of the `process`
//     kind only the direct children die with it; the supervisor ends the rest before it starts the next launcher.
//   - When the daemon dies or closes the socket, the launcher kills all sandboxes and forgets all templates. The next
//     daemon prepares anew.
//   - The launcher reads no more requests while more than kOutgoingMax answers wait for the daemon to read them.
//
// Files of a container: input `name` appears at /tmp/in/<name>, read-only; the output directory at /tmp/out, writable;
// /tmp itself is a tmpfs of scratch_bytes; the script given at Prepare is /oscar/config/script.sh, mode 0555; secrets
// are /run/secrets/<name>, mode 0400. The function runs as uid and gid kRunUid of its user namespace, or 0 where
// runs_as_root() says so. Of the kind `process` nothing is mounted: argv, working
// directory and environment name real paths, and inputs, output and script descriptors are refused.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/error.h"

namespace millrace::launcher {

inline constexpr std::uint16_t kProtocolVersion = 1;
inline constexpr char kLifeLineReady = 'r';
inline constexpr char kLifeLineNewDaemon = 's';

inline constexpr std::size_t kDatagramBytesMax = 64 * 1024;
inline constexpr std::size_t kProgramInlineBytesMax = 32 * 1024;  // a longer one travels in a sealed memfd
inline constexpr std::size_t kProgramBytesMax = 4 * 1024 * 1024;  // above execve's own limit, which answers E2BIG
inline constexpr std::size_t kProgramStringsMax = 16 * 1024;
inline constexpr std::size_t kInputsMax = 64;
inline constexpr std::size_t kDescriptorsMax = kInputsMax + 5;  // of one message
inline constexpr std::size_t kNameBytesMax = 255;               // of an input: one path component
inline constexpr std::size_t kPathBytesMax = 4095;
inline constexpr std::size_t kHostnameBytesMax = 64;
inline constexpr std::size_t kTextBytesMax = 1024;  // reasons and explanations
inline constexpr std::size_t kScriptBytesMax = 1024 * 1024;
inline constexpr std::size_t kTemplatesMax = 1024;
inline constexpr std::size_t kRunsMax = 4096;  // at the same time; more is SpawnFailed{request, EAGAIN}
inline constexpr std::size_t kOutgoingMax = 256;
inline constexpr std::size_t kRuntimesMax = 8;  // OCI runtimes that one launcher knows
inline constexpr std::size_t kRuntimeNameBytesMax = 32;

inline constexpr std::uint32_t kRunUid = 65533;             // inside; also the gid
inline constexpr std::uint32_t kTemplateUidBeside = 65535;  // of the template where runs are id 0
inline constexpr std::string_view kInputDirectory = "/tmp/in";
inline constexpr std::string_view kOutputDirectory = "/tmp/out";
inline constexpr std::string_view kScriptPath = "/oscar/config/script.sh";
inline constexpr std::string_view kSecretsDirectory = "/run/secrets";

// ---- launcher -> daemon

enum class Support : std::uint8_t { real, emulated, missing };

enum class Control : std::uint8_t {
  memory,
  cpu_weight,
  cpu_quota,
  pids,
  kill_group,  // ending a whole tree surely, whatever it forked
  namespaces,  // the kind `container` is possible at all
  seccomp,
  idmapped_mounts,  // files in and out with their real owners
  read_leases,      // CheckQuiet on files of every owner; emulated: only on files of the launcher's own user
  private_network,  // Network::outbound
  user_ids,         // each function has users of its own, which nobody else on the machine has, and as many as it needs
};
inline constexpr std::size_t kControls = 11;

struct ControlState {
  Support support = Support::missing;
  std::string reason{};  // empty for real
  bool operator==(const ControlState&) const = default;
};

struct Hello {
  std::uint16_t version = kProtocolVersion;
  bool privileged = false;  // it runs as root
  std::array<ControlState, kControls> controls{};
  std::vector<std::string> runtimes{};  // names of the OCI runtimes that the kind `oci` can use, the default one first
  std::string no_runtimes{};            // why there are none

  [[nodiscard]] const ControlState& of(Control control) const { return controls[static_cast<std::size_t>(control)]; }
  bool operator==(const Hello&) const = default;
};

// How the run's user reads inputs and writes outputs.
enum class FileAccess : std::uint8_t {
  none,        // kind `process`: real paths
  idmapped,    // a host user of its own; mounts translate it to the daemon's
  daemon_uid,  // the file system refuses idmapped mounts, or there is no root: the run's host user is the daemon's
};

struct Prepared {
  std::uint32_t template_id = 0;
  FileAccess files = FileAccess::none;
  bool operator==(const Prepared&) const = default;
};

// Where something failed. The number on the wire is the position here: append only.
enum class Step : std::uint8_t {
  request,    // the request itself: bounds, unknown template, refused descriptor
  resources,  // no descriptor, memory or process for the launcher itself
  cgroup,     // making or limiting the run's group
  clone,      // clone3
  attach,     // the child entering its group
  network,    // the child entering its network namespace
  mount_proc,
  mount_scratch,
  input,   // attaching an input; ENOENT: it was replaced after the daemon opened it
  output,  // attaching the output directory
  rlimit,
  hostname,
  descriptors,  // stdin, stdout, stderr, closing the rest
  identity,     // uid, gid, groups, capabilities, no_new_privs
  seccomp,
  working_directory,
  exec,              // ENOENT, EACCES, ENOEXEC, E2BIG: the program itself
  template_died,     // somebody killed the template before it told of the start
  user_namespace,    // of a template
  root_file_system,  // of a template
  script,            // of a template
  image,             // of a template: the directory that is its image
  provided,          // of a template: secrets and files
  copy_on_write,     // the child making its own copy-on-write root
  runtime,           // an OCI runtime refused; the text is its own last words
};
inline constexpr std::size_t kSteps = 25;
inline constexpr Step kLastStep = Step::runtime;
[[nodiscard]] std::string_view name_of(Step step);

struct PrepareFailed {
  std::uint32_t template_id = 0;
  Step step = Step::request;
  std::int32_t error = 0;  // errno
  std::string text{};      // what was tried
  bool operator==(const PrepareFailed&) const = default;
};

struct Started {
  std::uint64_t run = 0;
  std::uint64_t exec_us = 0;  // CLOCK_MONOTONIC; said by templates only, whose word may come later
  bool operator==(const Started&) const = default;
};

struct SpawnFailed {
  std::uint64_t run = 0;
  Step step = Step::request;
  std::int32_t error = 0;  // errno
  std::string text{};      // what was tried, where a step can fail in more than one way
  bool operator==(const SpawnFailed&) const = default;
};

struct Usage {
  std::uint64_t cpu_us = 0;             // user and system, whole tree
  std::uint64_t memory_peak_bytes = 0;  // of the group, with page cache; 0: unknown (no memory controller)
  std::uint64_t rss_peak_bytes = 0;     // of the largest process
  std::uint64_t io_read_bytes = 0;
  std::uint64_t io_write_bytes = 0;
  std::uint64_t throttled_us = 0;  // waited for its cpu quota
  std::uint64_t start_us = 0;      // request received to exec
  std::uint64_t wall_us = 0;       // exec to the end of the tree; in Exited only
  bool operator==(const Usage&) const = default;
};

enum class Ending : std::uint8_t {
  code,    // `value` is the exit code
  signal,  // `value` is the signal
  lost,    // its template died; nobody knows how the run itself ended
};

struct Exited {
  std::uint64_t run = 0;
  Ending how = Ending::code;
  std::uint32_t value = 0;
  bool out_of_memory = false;  // the kernel killed a process of the tree for memory, not necessarily the first one
  Usage usage{};
  bool operator==(const Exited&) const = default;
};

enum class Quietness : std::uint8_t { quiet, open_for_writing, unsupported };

struct Quiet {
  std::uint64_t request = 0;
  Quietness state = Quietness::unsupported;
  bool operator==(const Quiet&) const = default;
};

struct Sampled {
  std::uint64_t run = 0;
  bool known = false;
  Usage usage{};  // so far; rss_peak_bytes and io are 0
  bool operator==(const Sampled&) const = default;
};

// From a template to the launcher only: a spare sandbox that no run got is gone.
struct SpareGone {
  std::uint64_t spare = 0;
  bool operator==(const SpareGone&) const = default;
};

using Answer = std::variant<Hello, Prepared, PrepareFailed, Started, SpawnFailed, Exited, Quiet, Sampled, SpareGone>;

// ---- daemon -> launcher

enum class Kind : std::uint8_t {
  process,
  container,
  oci,  // a container made by a runtime of the launcher's table (oci_runs.h); files and secrets as of a container
};
enum class Network : std::uint8_t {
  none,      // a loopback interface of its own
  host,      // that of the machine
  outbound,  // the outside by way of private_network.h, with names; nothing of this machine
};

// What the run's user may do within its own user namespace.
enum class Profile : std::uint8_t {
  strict,  // no capability at all
  compat,  // id 0 with the capabilities of compat_capabilities(): what images expect that start as root
};

enum class Image : std::uint8_t {
  host,           // parts of this machine, read-only (host_image.h)
  directory,      // a root file system in a directory, read-only (directory_image.h)
  directory_copy  // the same; what a run changes lies in its own bounded tmpfs and goes with it
};

// Builds what all runs of one function revision share. Descriptors in this order:
//   the script, if `script` (readable, a regular file of at most kScriptBytesMax; copied at once);
//   the directory, if `image` is one (O_RDONLY|O_DIRECTORY, beneath one of the launcher's --images);
//   secrets and files, if `provided` (a sealed memfd of what pack_provided() makes);
//   a directory on the file system of inputs and outputs, if `probe_directory`: FileAccess is decided by trying there.
//   Without it idmapped mounts are assumed.
struct Prepare {
  std::uint32_t template_id = 0;  // chosen by the daemon, never used again on this socket
  Kind kind = Kind::container;
  Network network = Network::none;  // kind `process` has the host's whatever is written here
  bool script = false;
  bool probe_directory = false;
  Profile profile = Profile::strict;
  Image image = Image::host;
  bool provided = false;
  std::string runtime{};  // kind `oci`: a name of Hello::runtimes; empty: the first
  bool operator==(const Prepare&) const = default;
};

// Whether runs have id 0 of their user namespace, and not kRunUid: in images of their own, whose files belong to it,
// and where the profile gives it capabilities.
[[nodiscard]] constexpr bool runs_as_root(const Prepare& request) {
  return request.profile == Profile::compat || request.image != Image::host;
}

struct Drop {
  std::uint32_t template_id = 0;
  bool operator==(const Drop&) const = default;
};

// 0 means no limit, but for cpu_weight_millicores (0: one core's weight) and scratch (0: the launcher's defaults).
// Limits whose control is missing (Hello) are not applied and not an error: the daemon decides before it asks.
struct Limits {
  std::uint64_t memory_bytes = 0;
  std::uint32_t cpu_weight_millicores = 0;  // relative weight: 1000 is one core's share
  std::uint32_t cpu_quota_millicores = 0;   // hard
  std::uint32_t pids = 0;                   // processes and threads
  std::uint32_t open_files = 0;
  std::uint64_t file_bytes = 0;     // of each single file written
  std::uint64_t scratch_bytes = 0;  // /tmp and /dev/shm, each
  std::uint32_t scratch_inodes = 0;
  bool operator==(const Limits&) const = default;
};

enum class InputMode : std::uint8_t {
  mount,  // a read-only mount of the file itself
  copy,   // the content is copied into /tmp/in, counted as scratch and memory: for memfds and other file systems
};

struct Input {
  std::string name{};  // one path component, not "." or ".."
  InputMode mode = InputMode::mount;
  bool operator==(const Input&) const = default;
};

// Descriptors in this order: stdin, stdout, stderr; the sealed memfd holding the program, if `program` is empty; the
// output directory (O_RDONLY|O_DIRECTORY, owned by the daemon's uid), if `output`; then one O_RDONLY regular file for
// each input. O_PATH is refused: only an open file proves that the daemon may read it.
struct Spawn {
  std::uint64_t run = 0;  // chosen by the daemon, never used again on this socket
  std::uint32_t template_id = 0;
  Limits limits{};
  std::string hostname{};           // empty: "function"
  std::string working_directory{};  // absolute; empty: /tmp
  std::string program{};            // pack_program()'s result, or empty: it comes in a memfd
  bool output = false;
  std::vector<Input> inputs{};
  bool operator==(const Spawn&) const = default;
};

enum class KillSignal : std::uint8_t {
  term,  // SIGTERM to the first process only; pid 1 of a container ignores it unless it has a handler
  kill,  // ends the whole tree surely
};

struct Kill {
  std::uint64_t run = 0;
  KillSignal signal = KillSignal::kill;
  bool operator==(const Kill&) const = default;
};

// Is any process holding this regular file open for writing? One descriptor, opened O_RDONLY.
struct CheckQuiet {
  std::uint64_t request = 0;  // chosen by the daemon, repeated in the answer
  bool operator==(const CheckQuiet&) const = default;
};

struct Sample {
  std::uint64_t run = 0;
  bool operator==(const Sample&) const = default;
};

// The rest is what the launcher says to a template (template_process.h), and nobody to the launcher.

// Make a spare sandbox (spare_sandbox.h) for a run with these limits. Descriptors as behind those of Spawn there.
struct MakeSpare {
  std::uint64_t spare = 0;  // a number of its own
  Limits limits{};
  bool operator==(const MakeSpare&) const = default;
};

// End it, if no run has got it. SpareGone follows.
struct EndSpare {
  std::uint64_t spare = 0;
  bool operator==(const EndSpare&) const = default;
};

using Request = std::variant<Prepare, Drop, Spawn, Kill, CheckQuiet, Sample, MakeSpare, EndSpare>;

// ---- codec

// The datagram of a message; invalid_argument if a field is over its bound (the messages above state them).
[[nodiscard]] Result<std::string> encode(const Request& request);
[[nodiscard]] Result<std::string> encode(const Answer& answer);

// The message in a datagram. invalid_argument for an unknown type or enumerator, a field over its bound, a missing or
// surplus byte.
[[nodiscard]] Result<Request> decode_request(std::string_view datagram);
[[nodiscard]] Result<Answer> decode_answer(std::string_view datagram);

// How many descriptors belong to this request. Answers carry none.
[[nodiscard]] std::size_t descriptors_of(const Request& request);

// argv and environment in the form that Spawn::program and the memfd hold: count of each, then every string with its
// terminating NUL. argv must have at least one string, and argv[0] must not be empty; without a slash it is looked up
// along PATH of this environment. invalid_argument for an inner NUL or more than kProgramStringsMax strings, too_large
// above kProgramBytesMax.
[[nodiscard]] Result<std::string> pack_program(const std::vector<std::string>& argv,
                                               const std::vector<std::string>& environment);

// The strings of a packed program as pointers into `packed`, which must outlive them. Both end with a null pointer.
struct Program {
  std::vector<const char*> argv;
  std::vector<const char*> environment;
};
[[nodiscard]] Result<Program> unpack_program(std::string_view packed);

}  // namespace millrace::launcher
