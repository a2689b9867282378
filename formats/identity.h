// H, the hash that names things: the first 128 bits of SHA-256 over length-prefixed fields, as 32 lower-case hex
// digits. Fixed for ever: ids in stored rows, logs and dedupe keys are made with it.
#pragma once

#include <chrono>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "core/event.h"
#include "core/ids.h"

namespace millrace {

// Each field is preceded by its length as 8 bytes, little endian, so that no two lists of fields collide.
[[nodiscard]] std::string identity_hash(std::initializer_list<std::string_view> fields);

// H(source, id at the source).
[[nodiscard]] EventId event_id(std::string_view source, std::string_view source_id);

// A local file has no id of its own: H(store, bucket, key, size, mtime) is the id at the source.
[[nodiscard]] std::string object_source_id(const ObjectRef& object);

// H(function uid, event id, generation).
[[nodiscard]] RunId make_run_id(const FunctionUid& function, const EventId& event, std::uint32_t generation);

// Of an event that came past ingest, from a publisher who knows nothing of orders: the same however often it comes.
[[nodiscard]] Order foreign_order(std::chrono::system_clock::time_point published_at, const EventId& event);

// The order that an event brings along, if it can be one: a time that is over, or that a clock may show which is wrong
// by a day at most. Else foreign_order(): one far ahead would outrank all that comes until then.
[[nodiscard]] Order order_of(const Event& event, std::chrono::system_clock::time_point published_at);

// The dedupe key of a work message: H(run id, redrive count).
[[nodiscard]] std::string work_message_id(const RunId& run, std::uint32_t redrives);

// The id at the source of the event about output `index` of a run: H(run id, index).
[[nodiscard]] std::string output_source_id(const RunId& run, std::uint32_t index);

}  // namespace millrace
