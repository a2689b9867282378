#include "state/checks.h"

#include <string>

namespace millrace::state {

Result<void> check_new(const Attempt& attempt) {
  if (attempt.run_id.empty() || attempt.token.empty()) {
    return fail(Errc::invalid_argument, "begin an attempt: it needs a run id and a token");
  }
  if (attempt.outcome) {
    return fail(Errc::invalid_argument, "begin attempt " + attempt.token.str() + ": it has an outcome already");
  }
  return {};
}

Result<void> check_ended(const Attempt& attempt) {
  if (attempt.token.empty()) return fail(Errc::invalid_argument, "end an attempt: it has no token");
  if (!attempt.outcome) {
    return fail(Errc::invalid_argument, "end attempt " + attempt.token.str() + ": it has no outcome");
  }
  return {};
}

Result<void> check(const RunRecord& record) {
  if (record.run_id.empty()) return fail(Errc::invalid_argument, "commit a run: it has no id");
  if (record.log_tail.size() > kLogTailBytesMax) {
    return fail(Errc::too_large, "commit run " + record.run_id.str() + ": its log tail has " +
                                     std::to_string(record.log_tail.size()) + " bytes, the limit is " +
                                     std::to_string(kLogTailBytesMax));
  }
  return {};
}

Result<void> check(const RunFilter& filter) {
  return check_limit(filter.limit);
}

Result<void> check_limit(std::size_t limit) {
  if (limit >= 1 && limit <= kRunListMax) return {};
  return fail(Errc::invalid_argument,
              "limit " + std::to_string(limit) + " is not between 1 and " + std::to_string(kRunListMax));
}

Result<void> check(const std::vector<AttemptToken>& tokens) {
  if (tokens.size() <= kRunListMax) return {};
  return fail(Errc::invalid_argument, std::to_string(tokens.size()) + " attempts in one question; at most " +
                                          std::to_string(kRunListMax) + " are answered");
}

Error given_up(const RunRecord& record) {
  return {.code = Errc::aborted,
          .message = "run " + record.run_id.str() + ": this attempt was given up for lost, its outputs are no more"};
}

}  // namespace millrace::state
