// What `image: host` shows of this machine beside its usual parts, and what of all that it does not: the options
// host_image_show and host_image_hide.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "app/config.h"
#include "core/error.h"

namespace millrace {

// Of the table of options.
[[nodiscard]] Result<void> set_host_image_show(Config& config, std::string_view value);
[[nodiscard]] Result<void> set_host_image_hide(Config& config, std::string_view value);

// Whether the two fit each other and what a container has anyway; looks at names only.
[[nodiscard]] Result<void> check_host_image(const Config& config);

// `failed_precondition`, with the remedy, for a path that is a link or lies behind one (the mask of another name hides
// nothing), for a shown directory that is not there, and for one that would show the server's own data.
[[nodiscard]] Result<void> check_host_image_paths(const Config& config);

// "--show=DIRECTORY" and "--hide=PATH" for the launcher.
[[nodiscard]] std::vector<std::string> host_image_flags(const Config& config);

}  // namespace millrace
