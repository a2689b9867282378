// The daemon's configuration: one table declares every option once, and the file, the environment, the flags, the
// printed defaults and the reference page all come from it.
//
//   auto config = load_config(sources);        // every problem at once, not the first
//   config->listen                             // "127.0.0.1:8090"
//
// Order: defaults, file (config/millrace.yaml), environment (MILLRACE_<NAME>), flags (--<name>); later ones win.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "telemetry/log.h"

namespace millrace {

struct Config {
  std::string data;
  std::string listen;
  std::string user;
  std::string broker;                          // empty: log:<data>/log
  std::string state;                           // empty: <data>/state.db; else postgres://...
  std::string node;                            // empty: the host's name
  std::string bucket_directory;                // empty: <data>/buckets
  std::string roles;                           // with commas, in a fixed order
  std::map<std::string, std::string> buckets;  // those that lie elsewhere: name to absolute directory
  std::vector<std::string> image_directories;  // beneath which images that are directories may lie
  std::vector<std::string> host_image_show;    // what `image: host` shows besides
  std::vector<std::string> host_image_hide;    // and what it does not
  std::vector<std::string> oci_runtimes;       // "NAME=PROGRAM ARGUMENT..."; empty: what is installed
  std::vector<std::string> network_allow;      // what private networks may reach besides
  std::vector<std::string> network_deny;       // and what they may not
  std::string log_level;
  std::string log_format;
  std::string nats_user;
  std::string nats_password_file;
  std::string nats_token_file;
  std::string nats_credentials_file;
  std::string nats_ca_file;
  std::string nats_certificate_file;
  std::string nats_key_file;
  std::string nats_prefix;
  std::string nats_monitor;
  bool nats_synced = false;
  bool insecure_listen = false;
  bool stay_root = false;
  bool allow_weak_durability = false;
  bool allow_missing_isolation = false;
  bool allow_host_network = false;

  std::uint32_t nats_replicas = 0;
  std::uint32_t io_threads = 0;      // 0: as many as cores
  std::uint64_t memory_bytes = 0;    // 0: 80 % of the host's
  std::uint32_t cpu_millicores = 0;  // 0: all cores
  std::uint64_t log_segment_bytes = 0;
  std::uint64_t topic_bytes_max = 0;
  std::uint32_t topic_messages_max = 0;
  std::uint64_t event_bytes_max = 0;
  std::uint64_t object_bytes_max = 0;
  std::uint32_t connections_max = 0;
  std::uint32_t watches_max = 0;
  std::uint32_t queued_runs_max = 0;
  std::uint32_t restarts_max = 0;
  std::uint32_t runs_max = 0;
  std::uint32_t breaker_errors = 0;
  std::uint32_t breaker_store_errors = 0;
  std::chrono::milliseconds lease{0};
  std::chrono::milliseconds node_lease{0};
  std::chrono::milliseconds rescan{0};  // 0: as each function says
  std::chrono::milliseconds hold{0};
  std::chrono::milliseconds drain_timeout{0};
  std::chrono::milliseconds sweep_every{0};
  std::chrono::milliseconds runs_kept_for{0};
  std::chrono::milliseconds breaker_rest{0};
  std::chrono::milliseconds breaker_rest_max{0};
};

// Where and what both the supervisor and the daemon log.
[[nodiscard]] Log::Options log_options(const Config& config);

// One row of the table.
struct ConfigOption {
  std::string_view name;      // snake_case; the flag has '-' for '_'
  std::string_view type;      // text, yes/no, number, size, cpu, duration, or the choices "a|b"
  std::string_view fallback;  // as a user would write it
  std::string_view text;      // one sentence for people
  Result<void> (*set)(Config& config, std::string_view value);
};

[[nodiscard]] std::span<const ConfigOption> config_options();

// Values by option name, and where each set came from, for messages.
struct ConfigSource {
  std::string origin;  // "config/millrace.yaml", "environment", "command line"
  std::map<std::string, std::string> values;
};

// Defaults, then the sources in their order. The error lists every problem: unknown names with the nearest known one,
// and values that do not fit their type.
[[nodiscard]] Result<Config> load_config(const std::vector<ConfigSource>& sources);

// The options in a YAML file: a flat map of scalars.
[[nodiscard]] Result<ConfigSource> config_from_yaml(std::string_view text, std::string origin);

// MILLRACE_<NAME> for every option that is set. MILLRACE_URL and MILLRACE_TOKEN belong to the client and are left out.
[[nodiscard]] ConfigSource config_from_environment(const std::function<std::optional<std::string>(const char*)>& get);

// A commented file with every default: config/millrace.yaml.
[[nodiscard]] std::string default_config_file();

}  // namespace millrace
