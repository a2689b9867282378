#include "app/config.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <limits>

#include "app/config_lists.h"
#include "app/host_image_options.h"
#include "app/node_options.h"
#include "core/units.h"
#include "formats/diagnostics.h"
#include "formats/yaml.h"

namespace millrace {
namespace {

using View = std::string_view;

template <std::string Config::* Member>
Result<void> set_text(Config& config, View value) {
  config.*Member = std::string(value);
  return {};
}

template <bool Config::* Member>
Result<void> set_flag(Config& config, View value) {
  if (value != "yes" && value != "no" && value != "true" && value != "false") {
    return fail(Errc::invalid_argument, "'" + std::string(value) + "' is neither yes nor no");
  }
  config.*Member = value == "yes" || value == "true";
  return {};
}

template <std::uint32_t Config::* Member, std::uint32_t Min, std::uint32_t Max>
Result<void> set_number(Config& config, View value) {
  std::uint32_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  if (error != std::errc{} || end != value.data() + value.size() || number < Min || number > Max) {
    return fail(Errc::invalid_argument, "'" + std::string(value) + "' is not a number from " + std::to_string(Min) +
                                            " to " + std::to_string(Max));
  }
  config.*Member = number;
  return {};
}

template <std::uint64_t Config::* Member, std::uint64_t Min, std::uint64_t Max>
Result<void> set_size(Config& config, View value) {
  const auto bytes = parse_bytes(value);
  if (!bytes) return fail(bytes.error());
  if (*bytes < Min || *bytes > Max) {
    return fail(Errc::invalid_argument,
                "'" + std::string(value) + "' is not between " + format_bytes(Min) + " and " + format_bytes(Max));
  }
  config.*Member = *bytes;
  return {};
}

template <std::uint32_t Config::* Member>
Result<void> set_cpu(Config& config, View value) {
  const auto millicores = parse_millicores(value);
  if (!millicores) return fail(millicores.error());
  config.*Member = *millicores;
  return {};
}

template <std::chrono::milliseconds Config::* Member, std::int64_t MinMs, std::int64_t MaxMs>
Result<void> set_duration(Config& config, View value) {
  const auto duration = parse_duration(value);
  if (!duration) return fail(duration.error());
  if (duration->count() < MinMs || duration->count() > MaxMs) {
    return fail(Errc::invalid_argument, "'" + std::string(value) + "' is not between " +
                                            format_duration(std::chrono::milliseconds(MinMs)) + " and " +
                                            format_duration(std::chrono::milliseconds(MaxMs)));
  }
  config.*Member = *duration;
  return {};
}

Result<void> set_log_level(Config& config, View value) {
  if (value != "debug" && value != "info" && value != "warn" && value != "error") {
    return fail(Errc::invalid_argument, "'" + std::string(value) + "' is none of debug, info, warn, error");
  }
  config.log_level = std::string(value);
  return {};
}

Result<void> set_log_format(Config& config, View value) {
  if (value != "text" && value != "json") {
    return fail(Errc::invalid_argument, "'" + std::string(value) + "' is neither text nor json");
  }
  config.log_format = std::string(value);
  return {};
}

// The supervisor hands every option to the daemon on a command line, which everybody on the host can read.
Result<void> check_no_login(View url, View remedy) {
  const auto scheme = url.find("://");
  if (scheme == View::npos || url.find('@', scheme) == View::npos) return {};
  return fail(Errc::invalid_argument,
              "a URL with a user or password in it can be read by everybody on the host; " + std::string(remedy));
}

Result<void> set_broker(Config& config, View value) {
  auto no_login =
      check_no_login(value, "set nats_user and nats_password_file, nats_token_file or nats_credentials_file instead");
  if (!no_login) return no_login;
  config.broker = std::string(value);
  return {};
}

Result<void> set_nats_monitor(Config& config, View value) {
  auto no_login = check_no_login(value, "leave it out: the monitoring page of a NATS server has no login");
  if (!no_login) return no_login;
  if (!value.empty() && !value.starts_with("http://") && !value.starts_with("https://")) {
    return fail(Errc::invalid_argument, "expected nothing, or http://HOST:PORT");
  }
  config.nats_monitor = std::string(value);
  return {};
}

// The daemon gets its options as arguments, which everybody on the machine can read.
bool holds_password(View url) {
  const View rest = url.substr(url.find("://") + 3);
  const View authority = rest.substr(0, rest.find_first_of("/?"));
  const auto at = authority.rfind('@');
  return (at != View::npos && authority.substr(0, at).find(':') != View::npos) || url.find("password=") != View::npos;
}

Result<void> set_state(Config& config, View value) {
  if (!value.empty() && !value.starts_with("postgres://") && !value.starts_with("postgresql://")) {
    return fail(Errc::invalid_argument, "expected nothing, or postgres://USER@HOST:PORT/DATABASE");
  }
  if (!value.empty() && holds_password(value)) {
    return fail(Errc::invalid_argument,
                "the URL holds a password, which everybody on this machine could read; leave it out and name a file "
                "with it in PGPASSFILE or in the URL's option passfile=FILE");
  }
  config.state = std::string(value);
  return {};
}

constexpr std::uint64_t kNoSizeMax = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t kHourMs = 3'600'000;
constexpr std::int64_t kDayMs = 24 * kHourMs;

constexpr std::array kOptions{
    ConfigOption{"data", "text", "/var/lib/millrace",
                 "Directory of everything: broker log, state, buckets. Copying it, stopped, copies the system.",
                 set_text<&Config::data>},
    ConfigOption{"roles", "list", "gateway,producer,worker",
                 "What this daemon does: gateway (the HTTP API), producer (watches buckets), worker (runs functions). "
                 "Fewer than all need a broker and a state store that several daemons share: NATS and PostgreSQL.",
                 set_roles},
    ConfigOption{"bucket_directory", "text", "",
                 "Directory of the buckets; several daemons share files by one that all of them see. Empty: "
                 "<data>/buckets.",
                 set_bucket_directory},
    ConfigOption{
        "buckets", "BUCKET=DIRECTORY, ...", "",
        "Buckets that lie elsewhere than in <data>/buckets, in absolute directories the daemon's user may write.",
        set_buckets},
    ConfigOption{"image_directories", "DIRECTORY, ...", "",
                 "Directories below which images of `image: rootfs:/path` may lie, whose files functions may read "
                 "whatever their "
                 "owner; empty: such images are refused.",
                 set_image_directories},
    ConfigOption{"host_image_show", "DIRECTORY, ...", "",
                 "Directories of this machine that functions with `image: host` may read beside /usr, /etc and /opt, "
                 "as far as everybody may.",
                 set_host_image_show},
    ConfigOption{"host_image_hide", "PATH, ...", "",
                 "Files and directories below /usr, /etc, /opt and host_image_show that those functions do not see.",
                 set_host_image_hide},
    ConfigOption{"oci_runtimes", "NAME=PROGRAM, ...", "",
                 "Programs that functions with `executor: oci` may choose by `runtime: NAME`, the first one being the "
                 "default; arguments may stand behind the program. Empty: runc and crun, where they are installed.",
                 set_oci_runtimes},
    ConfigOption{"allow_host_network", "yes/no", "no",
                 "Accept functions with `network: host`, to which whatever listens on this machine's loopback is open.",
                 set_flag<&Config::allow_host_network>},
    ConfigOption{"network_allow", "RANGE, ...", "",
                 "IPv4 addresses and ranges that functions with `network: private` may reach although they are this "
                 "machine's own, link-local, or denied.",
                 set_network_allow},
    ConfigOption{"network_deny", "RANGE, ...", "",
                 "IPv4 addresses and ranges that functions with `network: private` must not reach, beside this "
                 "machine's own and link-local ones.",
                 set_network_deny},
    ConfigOption{"listen", "text", "127.0.0.1:8090", "HOST:PORT of the HTTP API; port 0 takes a free one.",
                 set_text<&Config::listen>},
    ConfigOption{"insecure_listen", "yes/no", "no",
                 "Listen beyond loopback without TLS: the token crosses the network readable.",
                 set_flag<&Config::insecure_listen>},
    ConfigOption{"user", "text", "millrace", "The ordinary user that the daemon becomes when it is started as root.",
                 set_text<&Config::user>},
    ConfigOption{"stay_root", "yes/no", "no", "Keep the daemon root when it is started as root.",
                 set_flag<&Config::stay_root>},
    ConfigOption{"broker", "text", "",
                 "URL of the broker: log:DIR (embedded, durable), nats://HOST:PORT[,HOST:PORT...] (tls:// with TLS), "
                 "memory: (lost "
                 "with the process). Empty: log:<data>/log.",
                 set_broker},
    ConfigOption{"nats_user", "text", "", "User at the NATS servers.", set_text<&Config::nats_user>},
    ConfigOption{"nats_password_file", "text", "", "File with that user's password.",
                 set_text<&Config::nats_password_file>},
    ConfigOption{"nats_token_file", "text", "", "File with a token for the NATS servers.",
                 set_text<&Config::nats_token_file>},
    ConfigOption{"nats_credentials_file", "text", "", "File with a JWT and its key for the NATS servers.",
                 set_text<&Config::nats_credentials_file>},
    ConfigOption{"nats_ca_file", "text", "", "Certificates to trust at the NATS servers; wants TLS.",
                 set_text<&Config::nats_ca_file>},
    ConfigOption{"nats_certificate_file", "text", "", "This node's own certificate for the NATS servers.",
                 set_text<&Config::nats_certificate_file>},
    ConfigOption{"nats_key_file", "text", "", "The key of that certificate.", set_text<&Config::nats_key_file>},
    ConfigOption{"nats_prefix", "text", "millrace",
                 "What the names of our streams and subjects begin with: 1 to 32 of a-z, 0-9 and '_'.",
                 set_text<&Config::nats_prefix>},
    ConfigOption{"nats_replicas", "number", "1", "Servers that keep each stream: 1, 3 or 5.",
                 set_number<&Config::nats_replicas, 1, 5>},
    ConfigOption{"nats_monitor", "text", "",
                 "URL of a NATS server's monitoring page (http://HOST:8222), which tells whether it syncs always.",
                 set_nats_monitor},
    ConfigOption{"nats_synced", "yes/no", "no",
                 "The NATS servers have `sync_interval: always`: believe that without asking their monitoring page.",
                 set_flag<&Config::nats_synced>},
    ConfigOption{"state", "text", "",
                 "Where functions and run records are kept: postgres://USER@HOST:PORT/DATABASE, without a password "
                 "(PGPASSFILE names a file with it). Empty: SQLite in <data>/state.db.",
                 set_state},
    ConfigOption{"allow_weak_durability", "yes/no", "no",
                 "Accept a broker or state store that confirms what is not on stable storage yet.",
                 set_flag<&Config::allow_weak_durability>},
    ConfigOption{"allow_missing_isolation", "yes/no", "no",
                 "Start on a host that cannot isolate functions: only those with executor: process are accepted then.",
                 set_flag<&Config::allow_missing_isolation>},
    ConfigOption{"node", "text", "",
                 "This node's name in run records, unique among the daemons that share a state store. Empty: the "
                 "host's name.",
                 set_node},
    ConfigOption{"log_level", "debug|info|warn|error", "info", "The least severe log lines to write.", set_log_level},
    ConfigOption{"log_format", "text|json", "text", "Readable text or JSON lines, on stderr.", set_log_format},
    ConfigOption{"io_threads", "number", "0", "Threads for connections and bodies; 0: as many as cores.",
                 set_number<&Config::io_threads, 0, 256>},
    ConfigOption{"memory", "size", "0", "Memory for functions, shared by admission; 0: 80 % of the host's.",
                 set_size<&Config::memory_bytes, 0, kNoSizeMax>},
    ConfigOption{"cpu", "cpu", "0", "Cores for functions, shared by admission; 0: all.",
                 set_cpu<&Config::cpu_millicores>},
    ConfigOption{"log_segment", "size", "64Mi", "Size of one segment of the embedded log.",
                 set_size<&Config::log_segment_bytes, 1 << 20, 256ULL << 20>},
    ConfigOption{"topic_bytes_max", "size", "1Ti",
                 "Bytes of events that may wait in one topic, dead letters included; more are refused.",
                 set_size<&Config::topic_bytes_max, 1 << 20, kNoSizeMax>},
    ConfigOption{"topic_messages_max", "number", "10000000",
                 "Events that may wait in one topic, dead letters included; more are refused.",
                 set_number<&Config::topic_messages_max, 1, 1'000'000'000>},
    ConfigOption{"event_bytes_max", "size", "1Mi", "The largest event body.",
                 set_size<&Config::event_bytes_max, 1024, 1 << 20>},
    ConfigOption{"object_bytes_max", "size", "5Ti", "The largest object that may be put over HTTP.",
                 set_size<&Config::object_bytes_max, 1, kNoSizeMax>},
    ConfigOption{"connections_max", "number", "10000", "Open HTTP connections; more are answered 503.",
                 set_number<&Config::connections_max, 1, 1'000'000>},
    ConfigOption{"watches_max", "number", "100000", "Directories watched for new files.",
                 set_number<&Config::watches_max, 1, 10'000'000>},
    ConfigOption{"queued_runs_max", "number", "4000", "Queued runs that can be listed; more still run.",
                 set_number<&Config::queued_runs_max, 1, 10'000'000>},
    ConfigOption{"restarts_max", "number", "5",
                 "Deaths of daemon or launcher within a minute that are one too many: everything ends then.",
                 set_number<&Config::restarts_max, 1, 1'000'000>},
    ConfigOption{"lease", "duration", "30s", "How long a worker owns an event without renewing.",
                 set_duration<&Config::lease, 500, 3'600'000>},
    ConfigOption{"node_lease", "duration", "15s",
                 "After how long without a word a node of several counts as dead, and others clear up behind it.",
                 set_duration<&Config::node_lease, 500, 3'600'000>},
    ConfigOption{"rescan", "duration", "0",
                 "Folders are compared with what was seen at least so often, where a function does not say more often: "
                 "files that another machine writes are not notified. 0: as each function says.",
                 set_duration<&Config::rescan, 0, kDayMs>},
    ConfigOption{"hold", "duration", "5s", "How long an event waits for a free slot before it is given back.",
                 set_duration<&Config::hold, 10, 600'000>},
    ConfigOption{"drain_timeout", "duration", "30s", "How long a stop waits for running functions.",
                 set_duration<&Config::drain_timeout, 0, kDayMs>},
    ConfigOption{"sweep_every", "duration", "10s", "How often unfinished runs of dead workers are looked for.",
                 set_duration<&Config::sweep_every, 100, kDayMs>},
    ConfigOption{"runs_kept_for", "duration", "30d",
                 "How long the record of a run that is over is kept, with the private copies of its outputs; longer "
                 "where an event may still need it.",
                 set_duration<&Config::runs_kept_for, kHourMs, 3650 * kDayMs>},
    ConfigOption{"runs_max", "number", "1000000",
                 "Records of later runs that make one go before its time; none goes within an hour.",
                 set_number<&Config::runs_max, 100, 1'000'000'000>},
    ConfigOption{"breaker_errors", "number", "5",
                 "Errors in a row, not of its own making, after which a function rests.",
                 set_number<&Config::breaker_errors, 1, 1'000'000>},
    ConfigOption{"breaker_store_errors", "number", "20",
                 "Errors of a store in a row after which all functions that use it rest.",
                 set_number<&Config::breaker_store_errors, 1, 1'000'000>},
    ConfigOption{"breaker_rest", "duration", "1s",
                 "How long a function or store that rests is left alone before one run tries it; doubles with each "
                 "try in vain.",
                 set_duration<&Config::breaker_rest, 10, kDayMs>},
    ConfigOption{"breaker_rest_max", "duration", "30s", "The longest rest between two tries.",
                 set_duration<&Config::breaker_rest_max, 10, kDayMs>},
};

const ConfigOption* find_option(View name) {
  const auto* found = std::ranges::find(kOptions, name, &ConfigOption::name);
  return found == kOptions.end() ? nullptr : found;
}

std::string unknown(View name) {
  std::vector<std::string_view> names;
  for (const auto& option : kOptions) names.push_back(option.name);
  const auto near = nearest_name(name, names);
  return "unknown option '" + std::string(name) + "'" + (near ? "; did you mean '" + std::string(*near) + "'?" : "");
}

LogLevel level_of(View name) {
  if (name == "debug") return LogLevel::debug;
  if (name == "warn") return LogLevel::warn;
  return name == "error" ? LogLevel::error : LogLevel::info;
}

}  // namespace

Log::Options log_options(const Config& config) {
  return {.level = level_of(config.log_level),
          .format = config.log_format == "json" ? LogFormat::json : LogFormat::text,
          .fd = STDERR_FILENO};
}

std::span<const ConfigOption> config_options() {
  return kOptions;
}

Result<Config> load_config(const std::vector<ConfigSource>& sources) {
  Config config;
  for (const auto& option : kOptions) {
    if (const auto set = option.set(config, option.fallback); !set)
      std::abort();  // a default that its own type refuses
  }
  std::string problems;
  for (const auto& source : sources) {
    for (const auto& [name, value] : source.values) {
      const auto* option = find_option(name);
      const auto set =
          option == nullptr ? Result<void>(fail(Errc::invalid_argument, unknown(name))) : option->set(config, value);
      if (set) continue;
      if (!problems.empty()) problems += '\n';
      problems += source.origin + ": " + (option == nullptr ? "" : name + ": ") + set.error().message;
    }
  }
  if (config.breaker_rest > config.breaker_rest_max) {
    if (!problems.empty()) problems += '\n';
    problems += "breaker_rest_max: " + format_duration(config.breaker_rest_max) + " is shorter than breaker_rest, " +
                format_duration(config.breaker_rest);
  }
  for (const auto check : {check_roles, check_host_image}) {
    if (const auto good = check(config); !good) problems += (problems.empty() ? "" : "\n") + good.error().message;
  }
  if (!problems.empty()) return fail(Errc::invalid_argument, std::move(problems));
  return config;
}

Result<ConfigSource> config_from_yaml(std::string_view text, std::string origin) {
  // Every value is read as it is written: its option knows its type.
  YamlOptions as_written;
  for (const auto& option : kOptions) as_written.verbatim.push_back(option.name);
  Diagnostics problems;
  const auto parsed = parse_yaml(text, as_written, problems);
  ConfigSource source{.origin = std::move(origin), .values = {}};
  if (!parsed) return fail(problems.to_error(source.origin));
  if (parsed->is_null()) return source;
  if (!parsed->is_object()) return fail(Errc::invalid_argument, source.origin + ": expected a map of options");
  for (const auto& [name, value, line] : parsed->members()) {
    if (find_option(name) == nullptr) {
      problems.add(line, "", unknown(name));
    } else if (!value.is_string()) {
      problems.add(line, name, "expected one value");
    } else {
      source.values[name] = *value.string();
    }
  }
  if (!problems.empty()) return fail(problems.to_error(source.origin));
  return source;
}

ConfigSource config_from_environment(const std::function<std::optional<std::string>(const char*)>& get) {
  ConfigSource source{.origin = "environment", .values = {}};
  for (const auto& option : kOptions) {
    std::string variable = "MILLRACE_" + std::string(option.name);
    std::ranges::transform(variable, variable.begin(),
                           [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
    if (auto value = get(variable.c_str())) source.values[std::string(option.name)] = std::move(*value);
  }
  return source;
}

std::string default_config_file() {
  std::string file =
      "# Millrace's options with their defaults. Each can also be set as MILLRACE_<NAME> in the environment or as\n"
      "# --<name> on the command line of `millrace serve`.\n";
  for (const auto& option : kOptions) {
    file += "\n# " + std::string(option.text) + " (" + std::string(option.type) + ")\n";
    file +=
        "# " + std::string(option.name) + ": " + std::string(option.fallback.empty() ? "\"\"" : option.fallback) + "\n";
  }
  return file;
}

}  // namespace millrace
