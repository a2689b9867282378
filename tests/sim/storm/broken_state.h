// State stores that break a promise of theirs now and then.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "state/state_store.h"

namespace millrace::storm {

enum class Breakage : std::uint8_t {
  commit_replaces,         // a later commit replaces the row
  commits_get_lost,        // a commit is confirmed and not kept
  attempts_are_forgotten,  // the start of an attempt is confirmed and not kept
};

[[nodiscard]] const char* name_of(Breakage breakage);
[[nodiscard]] std::function<std::unique_ptr<StateStore>(StateStore& real)> breaker(Breakage breakage);

}  // namespace millrace::storm
