#include "runtime/launched/prepare_request.h"

#include <utility>

#include "core/provided_files.h"
#include "runtime/launcher/channel.h"
#include "runtime/launcher/provided.h"

namespace millrace::launched {
namespace {

launcher::Image image_of(const TemplatePlan& plan) {
  if (!plan.open_image) return launcher::Image::host;
  return plan.function->root == RootKind::copy_on_write ? launcher::Image::directory_copy : launcher::Image::directory;
}

launcher::Network network_of(const TemplatePlan& plan, launcher::Support private_network) {
  const FunctionSpec& function = *plan.function;
  switch (function.network) {
    case NetworkKind::none: return launcher::Network::none;
    case NetworkKind::host: return launcher::Network::host;
    case NetworkKind::outbound: {
      const bool possible = plan.kind == launcher::Kind::container && private_network == launcher::Support::real;
      return possible || function.network_explicit ? launcher::Network::outbound : launcher::Network::none;
    }
  }
  return launcher::Network::none;
}

Result<Fd> provided_memfd(const FunctionSpec& function) {
  std::vector<ProvidedFile> files;
  for (const auto& [name, content] : function.secrets) {
    files.push_back({.path = name, .content = content, .secret = true});
  }
  for (const auto& [path, content] : function.files) {
    files.push_back({.path = path, .content = content, .secret = false});
  }
  const auto packed = launcher::pack_provided(files);
  if (!packed) return fail(packed.error());
  return launcher::sealed_memfd(*packed);
}

}  // namespace

launcher::Prepare prepare_request(const TemplatePlan& plan, std::uint32_t id, launcher::Support private_network) {
  const FunctionSpec& function = *plan.function;
  const bool container = plan.kind != launcher::Kind::process;
  const bool compat = container && function.profile == ProfileKind::compat;
  return {.template_id = id,
          .kind = plan.kind,
          .network = network_of(plan, private_network),
          .script = plan.script,
          .probe_directory = plan.probe_directory >= 0,
          .profile = compat ? launcher::Profile::compat : launcher::Profile::strict,
          .image = image_of(plan),
          .provided = container && (!function.secrets.empty() || !function.files.empty()),
          .runtime = plan.kind == launcher::Kind::oci ? function.oci_runtime : std::string()};
}

Result<std::vector<Fd>> prepare_parts(const launcher::Prepare& request, const TemplatePlan& plan, Result<Fd> image) {
  std::vector<Fd> parts;
  const auto add = [&parts](Result<Fd> part) -> Result<void> {
    if (!part) return fail(part.error());
    parts.push_back(std::move(*part));
    return {};
  };
  Result<void> added;
  if (request.script) added = add(launcher::sealed_memfd(plan.function->script));
  if (added && request.image != launcher::Image::host) added = add(std::move(image));
  if (added && request.provided) added = add(provided_memfd(*plan.function));
  if (!added) return fail(added.error());
  return parts;
}

}  // namespace millrace::launched
