// CloudEvents 1.0 as publishers send them: what they say becomes an Event, or an error that names the attribute.
//
//   auto event =
//   event_from_structured(R"({"specversion":"1.0","id":"1","source":"/shop","type":"order","data":{"n":3}})"); auto
//   event = event_from_attributes({{"ce-specversion", "1.0"}, ...}, body);
//
// What an event says about our own affairs (attributes that begin with "millrace") is refused here: nobody speaks for
// us from outside.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/event.h"
#include "formats/event_codec.h"
#include "formats/json.h"

namespace millrace {

inline constexpr std::string_view kStructuredType = "application/cloudevents+json";
inline constexpr std::string_view kBatchType = "application/cloudevents-batch+json";
inline constexpr std::size_t kBatchEventsMax = 1'000;
// Of an event as JSON: its data may be written six bytes for one.
inline constexpr std::size_t kStructuredBytesMax = 8 << 20;

// Structured mode. `invalid_argument` naming the attribute that is missing, wrong, or has a name that none can have;
// `too_large` beyond the bounds of an event. Data that is JSON is kept as its bytes in one line; data of another type
// that is written as a text is those bytes.
[[nodiscard]] Result<Event> event_from_structured(std::string_view text);
[[nodiscard]] Result<Event> event_from_json(const Json& json);

// Structured mode between our own parts, through whoever keeps messages for us: what we say of our own affairs is told,
// and taken. own_event_from_structured(to_structured(e)) is e, but for the blanks of data that is JSON. Nothing: what
// JSON cannot say, as an attribute that is no UTF-8.
[[nodiscard]] std::optional<std::string> to_structured(const Event& event);
[[nodiscard]] Result<Event> own_event_from_structured(std::string_view text);

// Batched mode: at most kBatchEventsMax. An error begins with the place of its event, counted from 1.
[[nodiscard]] Result<std::vector<Event>> events_from_batch(std::string_view text, std::size_t bytes_max);

// Binary mode: names "ce-<attribute>" and "content-type", in any case, values as they came; others are passed over.
// Without ce-specversion it is no CloudEvent: then nothing is required, and what is there is taken.
[[nodiscard]] Result<Event> event_from_attributes(const Headers& headers, std::string data);

// Whether all required attributes are there, and the values are such as attributes may have.
[[nodiscard]] Result<void> check_attributes(const Event& event);

}  // namespace millrace
