// An image that is a directory with a root file system (mmdebstrap, umoci unpack): shown read-only through an overlay
// whose upper layer is a skeleton of ours. The skeleton's directories (/dev, /proc, /tmp and so on) are real ones and
// lie over whatever the image has there, so that nothing of ours is ever placed by a name that the image chose.
#pragma once

#include <expected>

#include "core/fd.h"
#include "runtime/launcher/root_builder.h"

namespace millrace::launcher {

// Where the parts of a copy-on-write root lie in the template; a sandbox puts them together (sandbox_child.cc).
inline constexpr const char* kLowerDirectory = "/.image";
inline constexpr const char* kUpperDirectory = "/.upper";
inline constexpr const char* kNewRootDirectory = "/.root";
inline constexpr const char* kKeptSecretsDirectory = "/.secrets";

// A detached read-only mount of the directory in which the file system's ids are those of the user namespace. Before
// the caller leaves the launcher's mount namespace.
[[nodiscard]] std::expected<Fd, ImageError> mount_image(int directory, int user_namespace);

// As enter_host_image(). With Image::directory_copy the root holds the parts above instead of the image itself.
[[nodiscard]] std::expected<void, ImageError> enter_directory_image(const ImagePlan& plan, const Fd& image);

}  // namespace millrace::launcher
