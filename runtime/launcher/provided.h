// Secrets and files on their way to a template: packed by the daemon into a sealed memfd, unpacked and checked again by
// the template, which writes them into the root it builds. Pure, and safe on hostile bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/provided_files.h"

namespace millrace::launcher {

// Every secret and file at its bound fits.
inline constexpr std::size_t kProvidedBytesMax =
    kSecretsMax * (kSecretBytesMax + kSecretNameBytesMax + 16) + kFilesBytesMax + kFilesMax * (kFilePathBytesMax + 16);

// invalid_argument naming the entry (never its content) that is over a bound or has a name that cannot be.
[[nodiscard]] Result<std::string> pack_provided(const std::vector<ProvidedFile>& files);
[[nodiscard]] Result<std::vector<ProvidedFile>> unpack_provided(std::string_view packed);

}  // namespace millrace::launcher
