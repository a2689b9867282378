// FunctionSpec: everything the system knows about a function (OSCAR: service), whatever dialect it was written in.
//
// Defaults here are those of functions.millrace. Quantities are already parsed; a spec that exists is valid on its own
// (names, paths, bounds); whether this host can honour it is the executor's word at apply.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/ids.h"

namespace millrace {

// A storage place: `path` is "bucket" or "bucket/folder", without leading or trailing '/'.
struct StoragePath {
  std::string provider = "local";
  std::string path;

  [[nodiscard]] std::string_view bucket() const { return std::string_view(path).substr(0, path.find('/')); }
  // The folder with a trailing '/', or empty for the whole bucket: what keys start with.
  [[nodiscard]] std::string folder() const {
    const auto slash = path.find('/');
    return slash == std::string::npos ? std::string() : path.substr(slash + 1) + "/";
  }
  bool operator==(const StoragePath&) const = default;
};

// New objects below `path` start the function.
struct InputSpec {
  StoragePath storage;

  bool operator==(const InputSpec&) const = default;
};

// Results whose name (relative to TMP_OUTPUT_DIR) starts with any `prefix` and ends with any `suffix` (an empty list
// accepts all) appear below `path`. A file may match several outputs.
struct OutputSpec {
  StoragePath storage;
  std::vector<std::string> prefix;
  std::vector<std::string> suffix;

  bool operator==(const OutputSpec&) const = default;
};

// Events of a user topic start the function, which reads it in a group of its own.
struct TopicInputSpec {
  std::string topic;
  // Where that group begins, when it is made: with everything that is kept there still, or behind it.
  bool from_start = true;

  bool operator==(const TopicInputSpec&) const = default;
};

// Results become events on `topic`: each file that prefix and suffix accept, as for files in a bucket; of a run that
// wrote no file, what it printed.
struct TopicOutputSpec {
  std::string topic;
  std::vector<std::string> prefix;
  std::vector<std::string> suffix;
  // For readers that are no functions: each event is one JSON document where the broker's messages have headers.
  bool structured = false;

  bool operator==(const TopicOutputSpec&) const = default;
};

enum class ExecutorKind : std::uint8_t { container, process, oci };
enum class NetworkKind : std::uint8_t {
  none,      // its own loopback interface
  host,      // the machine's network
  outbound,  // "private": the outside and its names, nothing of this machine
};

// What a run may change of its root file system.
enum class RootKind : std::uint8_t {
  read_only,
  copy_on_write,  // everything; the changes count as scratch and go with the run
};

// What a run may do within its own user namespace.
enum class ProfileKind : std::uint8_t {
  strict,  // nothing that needs a capability
  compat,  // change owners and users, as images expect that start as root
};

// An image that is a directory of this machine: this and an absolute path.
inline constexpr std::string_view kRootfsPrefix = "rootfs:";

// What becomes of a function that writes more than its log may hold.
enum class LogPolicy : std::uint8_t {
  truncate,      // it goes on; the middle is dropped and counted
  backpressure,  // it waits at its next write until its timeout: nothing that it wrote is lost unseen
};

struct LimitsSpec {
  std::uint32_t cpu_millicores = 0;  // hard quota; 0: none, only the weight of `cpu`
  std::uint32_t pids = 512;
  bool pids_explicit = false;  // written by the author
  std::uint32_t open_files = 1024;
  std::uint64_t scratch_bytes = 64ULL << 20;  // /tmp, counted as memory
  std::uint64_t log_bytes = 64ULL << 10;      // per stream; of stdout at least result_bytes before it must wait
  LogPolicy log_policy = LogPolicy::truncate;
  std::uint64_t log_line_bytes = 16ULL << 10;  // of each line; the rest of it is dropped and counted
  std::uint64_t result_bytes = 6ULL << 20;     // stdout as the result of a synchronous call
  std::uint64_t output_bytes = 10ULL << 30;    // files in TMP_OUTPUT_DIR
  std::uint32_t output_files = 100'000;

  bool operator==(const LimitsSpec&) const = default;
};

struct FunctionSpec {
  std::string name;            // [a-z0-9]([-a-z0-9]*[a-z0-9])?, 1 to 39 characters
  FunctionUid uid;             // set by the registry
  std::uint64_t revision = 0;  // set by the registry: 1, 2, ...

  std::string image = "host";
  RootKind root = RootKind::read_only;
  ProfileKind profile = ProfileKind::strict;
  std::string script;  // the content; run by its shebang, else by /bin/sh
  std::map<std::string, std::string> environment;
  std::map<std::string, std::string> secrets;  // content by name; never shown
  std::map<std::string, std::string> files;    // content by path in the sandbox

  ExecutorKind executor = ExecutorKind::container;
  std::string oci_runtime;  // of executor oci, by its name in the configuration; empty: the first one there
  NetworkKind network = NetworkKind::none;
  bool network_explicit = false;              // written by the author
  std::uint64_t memory_bytes = 256ULL << 20;  // hard limit, swap 0
  std::uint32_t cpu_millicores = 200;         // reserved for admission, and the weight
  LimitsSpec limits;
  bool memory_explicit = false;  // an author's limit that the host cannot enforce is refused, a default is dropped
  // Nobody notes whether `cpu` was written: who writes the default means no more than the default does.
  [[nodiscard]] bool cpu_explicit() const { return cpu_millicores != FunctionSpec{}.cpu_millicores; }

  std::vector<InputSpec> inputs;
  std::vector<OutputSpec> outputs;
  std::vector<TopicInputSpec> topics;
  std::vector<TopicOutputSpec> topic_outputs;
  bool stage_in = true;  // false: INPUT_FILE_PATH is unset, the function fetches for itself

  std::chrono::milliseconds timeout = std::chrono::minutes(5);
  std::chrono::milliseconds grace = std::chrono::seconds(2);  // between SIGTERM and the end of the whole tree
  std::uint32_t concurrency = 0;  // runs at a time on a node; 0: as many as memory and cpu allow
  std::uint32_t weight = 1;       // its share of a busy node: 2 gets twice as much of it as 1
  std::uint32_t retries = 3;      // attempts after the first that ended with an outcome other than success
  std::chrono::milliseconds retry_base = std::chrono::seconds(1);
  std::chrono::milliseconds retry_cap = std::chrono::minutes(15);
  std::uint32_t max_losses = 10;
  std::chrono::milliseconds infrastructure_retry_for = std::chrono::hours(24);
  bool dead_letter = true;          // false: the last failure is only recorded
  bool publish_on_failure = false;  // outputs of a failed run appear as well

  bool ordered_by_key = false;  // the next event of one object key starts when the one before is done, retries included
  std::chrono::milliseconds settle{0};                                // a file must have been left alone this long
  std::vector<std::string> ignore = {".*", "*.part", "*.tmp", "*~"};  // globs on the last part of a key
  std::chrono::milliseconds rescan = std::chrono::minutes(5);
  std::uint32_t recursion_depth_max = 0;  // > 0: outputs may feed own inputs, at most so deep

  bool operator==(const FunctionSpec&) const = default;
};

[[nodiscard]] std::string_view name_of(ExecutorKind kind);
[[nodiscard]] std::string_view name_of(NetworkKind kind);
[[nodiscard]] std::string_view name_of(LogPolicy policy);
[[nodiscard]] std::optional<LogPolicy> log_policy_from_name(std::string_view name);
[[nodiscard]] std::string_view name_of(RootKind kind);
[[nodiscard]] std::string_view name_of(ProfileKind kind);
[[nodiscard]] std::optional<ExecutorKind> executor_from_name(std::string_view name);

// Whether an OCI runtime may be called so: 1 to 32 of a-z, 0-9, '-' and '_'.
[[nodiscard]] bool is_oci_runtime_name(std::string_view name);
[[nodiscard]] std::optional<NetworkKind> network_from_name(std::string_view name);
[[nodiscard]] std::optional<RootKind> root_from_name(std::string_view name);
[[nodiscard]] std::optional<ProfileKind> profile_from_name(std::string_view name);

}  // namespace millrace
