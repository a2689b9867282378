#include "app/part_options.h"

#include <utility>

#include "app/host_facts.h"
#include "app/node_options.h"
#include "app/version.h"
#include "core/ids.h"

namespace millrace {
namespace {

constexpr double kMemoryShare = 0.8;  // of the host's, for functions

}  // namespace

NodeBudget budget_of(const Config& config) {
  const auto share = static_cast<std::uint64_t>(static_cast<double>(host_memory_bytes()) * kMemoryShare);
  return {.memory_bytes = config.memory_bytes != 0 ? config.memory_bytes : share,
          .cpu_millicores = config.cpu_millicores != 0 ? config.cpu_millicores : host_cores() * 1000};
}

FsWatch::Options watch_options(const Config& config) {
  FsWatch::Options options;
  options.watches_max = config.watches_max;
  options.reconciler.rescan_max = config.rescan;
  return options;
}

Circuits::Options breakers(const Config& config) {
  const auto breaker = [&config](std::uint32_t errors) {
    return CircuitBreaker::Options{
        .errors = errors, .rest_base = config.breaker_rest, .rest_cap = config.breaker_rest_max};
  };
  return {.function = breaker(config.breaker_errors), .store = breaker(config.breaker_store_errors)};
}

// Without buckets of their own place all is on one disk, and told of once.
Health::Options health_options(const Config& config) {
  Health::Options options;
  options.directories.push_back(config.data);
  if (!config.bucket_directory.empty()) options.directories.push_back(config.bucket_directory);
  return options;
}

NodeRow describe_node(const Config& config, std::string identity, const EventLoop& loop) {
  NodeRow me;
  me.name = config.node.empty() ? host_name() : config.node;
  me.identity = std::move(identity);
  me.session = random_hex(16);
  me.broker = is_shareable(config) ? "nats:" + config.nats_prefix : NodeRow::kAlone;
  me.roles = config.roles;
  me.version = kBuildVersion.version;
  me.started_at = loop.wall_now();
  return me;
}

}  // namespace millrace
