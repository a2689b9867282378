// What the parts of a daemon make of the configuration.
#pragma once

#include <string>

#include "app/config.h"
#include "async/event_loop.h"
#include "engine/admission.h"
#include "engine/circuits.h"
#include "engine/health.h"
#include "producers/fs_watch.h"
#include "state/shared_state.h"

namespace millrace {

[[nodiscard]] NodeBudget budget_of(const Config& config);
[[nodiscard]] FsWatch::Options watch_options(const Config& config);
[[nodiscard]] Circuits::Options breakers(const Config& config);
[[nodiscard]] Health::Options health_options(const Config& config);

// What does not change of this node while it lives; the rest is filled in with every heartbeat.
[[nodiscard]] NodeRow describe_node(const Config& config, std::string identity, const EventLoop& loop);

}  // namespace millrace
