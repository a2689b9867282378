// How routes answer: JSON for what there is, one shape for what went wrong.
//
//   {"error": {"code": "not_found", "message": "bucket 'a' does not exist"}}
#pragma once

#include <string>

#include "async/task.h"
#include "core/error.h"
#include "engine/ingest.h"
#include "formats/json.h"
#include "gateway/router.h"
#include "net/http_message.h"

namespace millrace {

// `headers` beyond the content type.
[[nodiscard]] Task<void> reply_json(Exchange& exchange, int status, Json body, HttpHeaders headers = {});
[[nodiscard]] Task<void> reply_error(Exchange& exchange, Error error);
[[nodiscard]] Task<void> reply_empty(Exchange& exchange, int status);

// The request's query parameter `name` as a number; the fallback when it is absent.
[[nodiscard]] Result<std::uint64_t> query_number(const HttpRequest& request, std::string_view name,
                                                 std::uint64_t fallback, std::uint64_t max);

// The query parameters `delay` ("30s") and `priority` ("low", "normal", "high").
[[nodiscard]] Result<Sending> query_sending(const HttpRequest& request);

// "yes", "true", "1" or an empty value; false when absent. Other values than those for no meet check_query() before.
[[nodiscard]] bool query_flag(const HttpRequest& request, std::string_view name);

// The header `Idempotency-Key`; nothing where it is absent. One that is empty is refused: whoever sends it means to be
// safe from repeats, and would not be.
[[nodiscard]] Result<std::string> idempotency_key(const HttpRequest& request);

}  // namespace millrace
