// What the launcher reads of /proc and of control files. The kernel writes them, but names in them are chosen by
// others.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "runtime/launcher/cgroup_mounts.h"
#include "runtime/launcher/cgroup_place.h"
#include "runtime/launcher/host_image.h"
#include "runtime/launcher/system.h"

namespace {

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace millrace::launcher;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const CgroupMounts mounts = parse_cgroup_mounts(text);
  for (const std::string& path : mounts.hierarchies()) require(text.find(path) != std::string_view::npos);
  for (const std::string& path : mounts.v1) require(text.find(path) != std::string_view::npos);
  for (const std::string& path : mounts_below(text, "/usr")) {
    require(path.starts_with("/usr/") && path.find('\\') == std::string::npos && path.find('\n') == std::string::npos);
  }
  const std::string own = own_group_of(text);
  require(own.empty() || own.front() == '/');
  static_cast<void>(directory_of_group(mounts, own));
  static_cast<void>(parse_number(text));
  static_cast<void>(keyed_number(text, "oom_kill"));
  return 0;
}
