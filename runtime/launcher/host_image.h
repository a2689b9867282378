// `image: host`: a root file system made of parts of the host, as an allow list. A small read-only tmpfs root, and one
// read-only overlay for each of /usr, /etc, /opt (and /bin, /lib and so on where they are directories and not links).
// Overlay and not bind mounts: a listening socket or a fifo of the host is dead through it.
#pragma once

#include <array>
#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/launcher/root_builder.h"

namespace millrace::launcher {

// Of the host's root directory; those that are links there become links.
inline constexpr std::array kHostParts{"usr", "etc", "opt", "bin", "sbin", "lib", "lib32", "lib64", "libx32"};

// Builds the image and makes it the caller's root. The caller is root of the host or of the launcher's own user
// namespace, pid 1 of its pid namespace, and in a mount namespace of its own whose mounts are private. /proc is the
// caller's afterwards, /tmp and /dev/shm are empty directories to mount on, and everything is read-only.
[[nodiscard]] std::expected<void, ImageError> enter_host_image(const ImagePlan& plan);

// The mount points strictly below `directory` in the text of /proc/self/mountinfo, outermost first.
[[nodiscard]] std::vector<std::string> mounts_below(std::string_view mountinfo, std::string_view directory);

}  // namespace millrace::launcher
