// config.json of an OCI bundle, as the runtime specification 1.0 has it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/launcher/protocol.h"

namespace millrace::launcher {

struct OciMount {
  std::string_view target;
  std::string_view type;
  std::string source;
  std::vector<std::string_view> options;
};

struct OciIdRange {
  std::uint32_t inside = 0;
  std::uint32_t outside = 0;
  std::uint32_t count = 0;
};

struct OciLimit {
  std::string_view name;  // "RLIMIT_NOFILE"
  std::uint64_t value = 0;
};

struct OciConfig {
  const char* const* arguments = nullptr;    // up to a null pointer, as execve wants them
  const char* const* environment = nullptr;  // likewise
  std::string_view root;                     // the directory, relative to the bundle
  std::string_view working_directory;
  std::string_view hostname;
  std::uint32_t user = 0;  // inside; also the group
  bool compat = false;     // with the capabilities of Profile::compat
  Network network = Network::none;
  bool root_read_only = true;
  std::vector<OciIdRange> users;
  std::vector<OciIdRange> groups;
  std::vector<OciMount> mounts;
  std::vector<OciLimit> limits;
  // The run's control group below the mounts of the hierarchies, where the runtime is to keep its limits; empty: it is
  // not told of any.
  std::string control_group;
  std::uint64_t memory_bytes = 0;  // 0: no limit
  std::uint64_t pids = 0;
  std::uint64_t cpu_quota_us = 0;
};

// The names of the calls and files in it come from the same tables as those of our own containers. invalid_argument
// when an argument or a variable is no UTF-8, which JSON cannot hold.
[[nodiscard]] Result<std::string> oci_config(const OciConfig& config);

}  // namespace millrace::launcher
