#include "formats/storage_event.h"

#include <utility>

#include "formats/json.h"
#include "formats/timestamp.h"

namespace millrace {
namespace {

// As a form encodes it: what notifications of S3 stores do to keys. Readers undo it, '+' included.
std::string form_escape(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  constexpr std::string_view kKept = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~*";
  std::string escaped;
  for (const char c : text) {
    if (c == ' ') {
      escaped += '+';
    } else if (kKept.find(c) != std::string_view::npos) {
      escaped += c;
    } else {
      const auto byte = static_cast<unsigned char>(c);
      escaped += '%';
      escaped += kHex[byte >> 4];
      escaped += kHex[byte & 15];
    }
  }
  return escaped;
}

}  // namespace

std::string storage_event_json(const ObjectRef& object, std::chrono::system_clock::time_point time, const EventId& id) {
  const std::string version = std::to_string(object.version.mtime_ns);
  Json s3 = Json::object({{"s3SchemaVersion", "1.0"},
                          {"configurationId", "Config"},
                          {"bucket", Json::object({{"name", object.bucket}, {"arn", "arn:aws:s3:::" + object.bucket}})},
                          {"object", Json::object({{"key", form_escape(object.key)},
                                                   {"size", object.version.size_bytes},
                                                   {"eTag", id.str()},
                                                   {"sequencer", version}})}});
  Json record = Json::object({{"eventVersion", "2.0"},
                              {"eventSource", "minio:s3"},
                              {"awsRegion", ""},
                              {"eventTime", format_timestamp(time)},
                              {"eventName", "s3:ObjectCreated:Put"},
                              {"s3", std::move(s3)}});
  return Json::object({{"EventName", "s3:ObjectCreated:Put"},
                       {"Key", object.bucket + "/" + object.key},
                       {"Records", Json::array({std::move(record)})}})
      .dump();
}

}  // namespace millrace
