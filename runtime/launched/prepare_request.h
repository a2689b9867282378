// A function's template as a request to the launcher, with the descriptors that belong to it.
#pragma once

#include <cstdint>
#include <vector>

#include "core/error.h"
#include "core/fd.h"
#include "runtime/launched/launcher_client.h"
#include "runtime/launcher/protocol.h"

namespace millrace::launched {

// `private_network`: what the launcher said of it. A private network that is only the default is none where there is
// none; one that the author wrote is asked for, and refused.
[[nodiscard]] launcher::Prepare prepare_request(const TemplatePlan& plan, std::uint32_t id,
                                                launcher::Support private_network);

// The descriptors of the request, in its order, but for the directory to try. `image`: what plan.open_image gave.
[[nodiscard]] Result<std::vector<Fd>> prepare_parts(const launcher::Prepare& request, const TemplatePlan& plan,
                                                    Result<Fd> image);

}  // namespace millrace::launched
