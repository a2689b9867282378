// A state store that forgets: for tests and the simulation. The same answers as the real one, each in a later step of
// the loop.
#pragma once

#include <memory>

#include "async/event_loop.h"
#include "state/state_store.h"

namespace millrace {

[[nodiscard]] std::unique_ptr<StateStore> make_memory_state(EventLoop& loop);

}  // namespace millrace
