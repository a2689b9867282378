// What every root file system of a template needs, whatever image it shows: /dev, /proc, the script, secrets, files.
//
// A builder works in a directory that becomes the root, with relative names; it never follows a link: what it makes by
// name it makes part by part, in file systems of its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>

#include "core/fd.h"
#include "core/provided_files.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/protocol.h"

namespace millrace::launcher {

struct ImageError {
  Step step = Step::root_file_system;
  int error = 0;  // errno
  std::string what;
};

// Any directory that every host has and that no image comes from: the new root is put over it.
inline constexpr const char* kBuildPoint = "/sys";

struct ImagePlan {
  const LauncherOptions& options;
  const Prepare& request;
  std::string_view script_bytes;
  std::span<const ProvidedFile> provided;
  std::uint32_t run_id = 0;   // host id of the run's user, who owns the secrets
  std::uint32_t root_id = 0;  // host id of id 0 of the function's user namespace
  bool one_id = false;        // both are the caller's own: only that id is known here
  const char* build_point = kBuildPoint;
  // The root is for an OCI runtime: it stays at the build point, without /dev and /proc, which the runtime makes.
  bool bundle = false;
  const char* upper_options = nullptr;  // of a bundle's tmpfs that takes what a copy-on-write root changes
};

// /etc/hosts where the network is not the host's.
inline constexpr std::string_view kLoopbackHosts = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

// Makes the directories above `path`, and `path` itself as a file with these bytes, below `directory`. Errno: ELOOP or
// ENOTDIR for a part that is a link or a file, EISDIR for a directory in the file's place.
[[nodiscard]] bool write_below(int directory, std::string_view path, std::string_view bytes, mode_t mode);

// /dev as a mount to attach; invalid with errno. `nodes`: with the devices themselves, which only root of the host may
// make; else with a place for each.
[[nodiscard]] Fd make_devices(bool nodes = true);

// Attaches the host's own device of that path, as `target`, below the current directory.
[[nodiscard]] bool attach_host_device(const char* path, const char* target);

class RootBuilder {
 protected:
  explicit RootBuilder(const ImagePlan& plan) : plan_(plan) {}
  ~RootBuilder() = default;

  // For the message of whatever fails next.
  bool at(std::string what);
  bool at(Step step, std::string what);
  // `part`: of the file's path, if that is what may be in the way.
  bool at_file(const ProvidedFile& file, std::string_view part = {});
  [[nodiscard]] std::unexpected<ImageError> error() const;

  bool make_directory(const std::string& path);
  // At `dev`.
  bool attach_devices();
  // Makes a new file the id's; where one id is mapped it is that already.
  [[nodiscard]] bool give(int directory, const std::string& path, std::uint32_t id) const;
  // Puts the script into `directory`, a file system of ours that is or becomes part of the root.
  bool place_script(int directory);
  // A read-only tmpfs with the secrets at `target`; nothing if there are none.
  bool attach_secrets(const char* target);
  // The current directory, a mount, becomes the root. That of a bundle only becomes read-only.
  bool enter();

  // /etc/resolv.conf and /etc/hosts for the network of the function, from what the host has there.
  [[nodiscard]] std::string resolv_conf(std::string of_host) const;
  [[nodiscard]] std::string hosts(std::string of_host) const;
  [[nodiscard]] bool has_secrets() const;
  [[nodiscard]] std::size_t provided_bytes() const;
  [[nodiscard]] const ImagePlan& plan() const { return plan_; }

 private:
  const ImagePlan& plan_;
  Step step_ = Step::root_file_system;
  std::string what_;
};

}  // namespace millrace::launcher
