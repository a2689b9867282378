#include "broker/nats/durability.h"

#include "net/http_client.h"

namespace millrace::nats {
namespace {

constexpr std::size_t kPageBytesMax = 1U << 20;
constexpr std::chrono::milliseconds kPageTimeout{2000};

}  // namespace

Result<bool> syncs_always(const Json& jsz) {
  const Json* config = jsz.find("config");
  if (config == nullptr) return fail(Errc::failed_precondition, "its page /jsz does not say how JetStream is set up");
  return config->bool_or("sync_always", false);
}

Task<Result<bool>> ask_monitor(EventLoop& loop, std::string monitor_url) {
  while (monitor_url.ends_with('/')) monitor_url.pop_back();
  HttpClient client(loop, {});
  HttpClientRequest request;
  request.url = monitor_url + "/jsz?config=true";
  request.response_bytes_max = kPageBytesMax;
  request.connect = kPageTimeout;
  request.total = kPageTimeout;
  auto response = co_await client.send(std::move(request));
  if (!response) co_return fail(response.error().with("ask the NATS server's monitoring page"));
  if (response->status != 200) {
    co_return fail(Errc::unavailable, monitor_url + "/jsz answers " + std::to_string(response->status));
  }
  auto page = parse_json(response->body, kPageBytesMax);
  if (!page) co_return fail(Errc::failed_precondition, monitor_url + "/jsz is no JSON");
  auto syncs = syncs_always(*page);
  co_return syncs;
}

Assessment assess(const Json& stream, const NatsBrokerOptions& options, const Result<bool>& syncs) {
  Assessment found;
  const Json* config = stream.find("config");
  if (config == nullptr) {
    found.why = "the server does not say how its streams are stored";
    return found;
  }
  if (config->string_or("storage", "file") != "file") {
    found.why = "the streams are kept in memory";
    return found;
  }
  found.durability = Durability::page_cache;
  const auto replicas = config->uint_or("num_replicas", 1);
  if (replicas >= 3) {
    found.durability = Durability::replicated;
    found.why = std::to_string(replicas) + " servers keep each stream";
  } else if (!options.monitor_url.empty() && !syncs) {
    found.why = syncs.error().message;
  } else if (!options.monitor_url.empty()) {
    if (*syncs) found.durability = Durability::synced;
    found.why = *syncs ? "the server has sync_interval: always" : "the server lacks `sync_interval: always`";
  } else if (options.synced) {
    found.durability = Durability::synced;
    found.why = "nats_synced says so";
  } else {
    found.why = "nobody says that the server has `sync_interval: always`: set nats_monitor or nats_synced";
  }
  return found;
}

}  // namespace millrace::nats
