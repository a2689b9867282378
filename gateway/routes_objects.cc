#include <memory>
#include <string>
#include <utility>

#include "gateway/reply.h"
#include "gateway/routes.h"

namespace millrace::routes {
namespace {

constexpr std::uint64_t kListMax = 10'000;
constexpr std::uint64_t kListDefault = 1'000;

Json to_json(const ObjectInfo& info) {
  return Json::object({{"key", info.key}, {"size", info.version.size_bytes}, {"mtime_ns", info.version.mtime_ns}});
}

std::string entity_tag(const ObjectVersion& version) {
  return "\"" + std::to_string(version.inode) + "-" + std::to_string(version.size_bytes) + "-" +
         std::to_string(version.mtime_ns) + "\"";
}

// The object is under its name and durable; now the event is made durable as well.
Task<Result<std::pair<ObjectInfo, Accepted>>> commit_and_ingest(Services& services, std::shared_ptr<Upload> upload,
                                                                std::string bucket) {
  auto info = co_await upload->commit();
  if (!info) co_return fail(info.error());
  ObjectRef object{
      .store = "local", .bucket = std::move(bucket), .key = info->key, .version = info->version, .private_path = {}};
  auto accepted = co_await services.ingest.object_created(std::move(object));
  if (!accepted) co_return fail(accepted.error().with("the object is stored; its event is not confirmed yet"));
  co_return std::pair(std::move(*info), std::move(*accepted));
}

}  // namespace

Task<void> list_buckets(Exchange& exchange) {
  Services& services = exchange.services;
  const auto buckets =
      co_await on_domain(services, exchange.request, [&services] { return services.objects.buckets(); });
  if (!buckets) {
    co_await reply_error(exchange, buckets.error());
    co_return;
  }
  Json list = Json::array();
  for (const auto& bucket : *buckets) list.append(Json::object({{"name", bucket}}));
  co_await reply_json(exchange, 200, Json::object({{"buckets", std::move(list)}}));
}

Task<void> make_bucket(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string bucket = exchange.params["bucket"];
  const auto made = co_await on_domain(services, exchange.request,
                                       [&services, bucket] { return services.objects.ensure_bucket(bucket); });
  if (!made) {
    co_await reply_error(exchange, made.error());
    co_return;
  }
  co_await reply_json(exchange, 201, Json::object({{"name", bucket}}));
}

Task<void> list_objects(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string bucket = exchange.params["bucket"];
  const std::string prefix = std::string(exchange.request.query("prefix").value_or(""));
  const std::string after = std::string(exchange.request.query("after").value_or(""));
  const auto limit = query_number(exchange.request, "limit", kListDefault, kListMax);
  if (!limit) {
    co_await reply_error(exchange, limit.error());
    co_return;
  }
  const auto listing = co_await on_domain(services, exchange.request, [&services, bucket, prefix, after, limit] {
    return services.objects.list(bucket, prefix, after, *limit);
  });
  if (!listing) {
    co_await reply_error(exchange, listing.error());
    co_return;
  }
  Json list = Json::array();
  for (const auto& info : listing->objects) list.append(to_json(info));
  co_await reply_json(exchange, 200, Json::object({{"objects", std::move(list)}, {"truncated", listing->truncated}}));
}

Task<void> get_object(Exchange& exchange) {
  Services& services = exchange.services;
  ObjectRef object{.store = "local",
                   .bucket = exchange.params["bucket"],
                   .key = exchange.params["key"],
                   .version = {},
                   .private_path = {}};
  auto opened =
      co_await on_domain(services, exchange.request, [&services, object] { return services.objects.open(object); });
  if (!opened) {
    co_await reply_error(exchange, opened.error());
    co_return;
  }
  HttpHeaders headers{{"Content-Type", "application/octet-stream"}, {"ETag", entity_tag(opened->version)}};
  const std::uint64_t length = opened->version.size_bytes;
  const auto sent = co_await exchange.responder.send_file(200, std::move(headers), std::move(opened->fd), 0, length);
  if (!sent) services.log.debug("object not sent", {{"error", sent.error()}});
}

// 201 only after file and event are durable.
Task<void> put_object(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string bucket = exchange.params["bucket"];
  const std::string key = exchange.params["key"];
  const std::uint64_t bytes_max = services.limits.object_bytes_max;
  if (exchange.request.content_length().value_or(0) > bytes_max) {
    co_await reply_error(exchange,
                         {.code = Errc::too_large,
                          .message = "the object is larger than object_bytes_max, " + std::to_string(bytes_max)});
    co_return;
  }
  auto started = co_await on_domain(services, exchange.request,
                                    [&services, bucket, key] { return services.objects.start_put(bucket, key); });
  if (!started) {
    co_await reply_error(exchange, started.error());
    co_return;
  }
  // Written here, but ended where the store lives, also when the client leaves half-way.
  EventLoop& domain = services.domain;
  const std::shared_ptr<Upload> upload(started->release(),
                                       [&domain](Upload* ended) { domain.post([ended] { delete ended; }); });
  std::uint64_t received = 0;
  for (;;) {
    const auto chunk = co_await exchange.request.next_chunk();
    if (!chunk) {
      co_await reply_error(exchange, chunk.error());
      co_return;
    }
    if (!*chunk) break;
    received += (*chunk)->size();
    const auto written = received > bytes_max
                             ? Result<void>(fail(Errc::too_large, "the object is larger than object_bytes_max"))
                             : upload->write(**chunk);
    if (!written) {
      co_await reply_error(exchange, written.error());
      co_return;
    }
  }
  const auto done = co_await on_domain(
      services, exchange.request, [&services, upload, bucket] { return commit_and_ingest(services, upload, bucket); });
  if (!done) {
    co_await reply_error(exchange, done.error());
    co_return;
  }
  const auto& [info, accepted] = *done;
  Json runs = Json::array();
  for (const auto& run : accepted.runs) {
    runs.append(Json::object({{"function", run.function}, {"run_id", run.run_id.str()}}));
  }
  Json body = to_json(info);
  body.set("event_id", accepted.event_id.str());
  body.set("runs", std::move(runs));
  co_await reply_json(exchange, 201, std::move(body));
}

Task<void> remove_object(Exchange& exchange) {
  Services& services = exchange.services;
  const std::string bucket = exchange.params["bucket"];
  const std::string key = exchange.params["key"];
  const auto removed = co_await on_domain(services, exchange.request,
                                          [&services, bucket, key] { return services.objects.remove(bucket, key); });
  if (!removed) {
    co_await reply_error(exchange, removed.error());
    co_return;
  }
  co_await reply_empty(exchange, 204);
}

}  // namespace millrace::routes
