// What all containers of a launcher share: the abilities of the host, the compiled filters, the host ids.
#pragma once

#include <linux/filter.h>

#include <array>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "runtime/launcher/host_rights.h"
#include "runtime/launcher/launcher_options.h"
#include "runtime/launcher/protocol.h"
#include "runtime/launcher/template_process.h"

namespace millrace::launcher {

// Host ids lie in the range below 2^31 that no distribution gives to users. Id 0 of every function's user namespace is
// the same kTemplateUid, so that a control group is handed to all templates once; the others are its own.
inline constexpr std::uint32_t kTemplateUid = 0x7000'0000;
inline constexpr std::uint32_t kIdsPerSlot = 65'536;

// The lines of a function's id map. `run_id`: the host id of the run's user; 0 for the one of this slot.
[[nodiscard]] std::string function_id_map(std::uint32_t slot, std::uint32_t run_id);
// The same where runs have id 0: the template then is kTemplateUidBeside, which the filter keeps runs from becoming, so
// that no function ever has the host id that all templates share.
[[nodiscard]] std::string root_id_map(std::uint32_t slot, std::uint32_t run_id);
// The host id of id 0 of a slot, where runs have it.
[[nodiscard]] constexpr std::uint32_t root_host_id(std::uint32_t slot) {
  return kTemplateUid + slot * kIdsPerSlot;
}
// The host id of the run's user in a slot of its own.
[[nodiscard]] constexpr std::uint32_t run_host_id(std::uint32_t slot) {
  return kTemplateUid + slot * kIdsPerSlot + kRunUid;
}

class ContainerSupport {
 public:
  ContainerSupport(const LauncherOptions& options, const HostRights& rights);

  [[nodiscard]] ControlState state(Control control) const;  // namespaces, seccomp, idmapped_mounts, user_ids
  [[nodiscard]] const HostRights& rights() const { return rights_; }
  [[nodiscard]] std::span<const sock_filter> outer_filter(Network network) const {
    return outer_filters_.at(static_cast<std::size_t>(network));
  }
  [[nodiscard]] std::span<const sock_filter> inner_filter() const { return inner_filter_; }

  // What a template needs from the launcher, from the request and its descriptors; an error tells what was tried.
  [[nodiscard]] std::expected<TemplateResources, PrepareFailed> allocate(const Prepare& request,
                                                                         std::span<const Fd> descriptors);
  void free(std::uint32_t slot);

 private:
  [[nodiscard]] std::uint32_t take_slot();
  [[nodiscard]] bool maps_ids(int directory, int idmap_namespace) const;
  [[nodiscard]] Result<void> try_all();
  // User namespace, ids and access to files, into `made`, which has a slot.
  [[nodiscard]] Result<void> give_ids(TemplateResources& made, const Prepare& request, int probe_directory) const;
  [[nodiscard]] Result<void> give_one_id(TemplateResources& made, const Prepare& request) const;

  const LauncherOptions& options_;
  const HostRights& rights_;
  std::array<std::vector<sock_filter>, 3> outer_filters_;  // by Network
  std::vector<sock_filter> inner_filter_;
  ControlState namespaces_;
  ControlState seccomp_;
  ControlState idmap_;
  ControlState user_ids_;
  std::vector<bool> slots_;  // true: taken; the first is never given, its ids hold kTemplateUid
};

}  // namespace millrace::launcher
