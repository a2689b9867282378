#include "engine/live_run.h"

namespace millrace {

RunEnd RunEnd::of(const RunRecord& record) {
  return {.outcome = record.outcome,
          .reason = record.reason,
          .exit_code = record.exit_code,
          .signal = record.signal,
          .failures = record.failures,
          .losses = record.losses,
          .usage = record.usage};
}

}  // namespace millrace
