#include "runtime/launched/spawn_error.h"

#include <cerrno>
#include <chrono>
#include <cstring>

#include "runtime/launched/script.h"

namespace millrace::launched {
namespace {

std::string reason_of(int error_number) {
  const char* text = ::strerrordesc_np(error_number);
  return text != nullptr ? text : "error " + std::to_string(error_number);
}

// "start function 'thumbs' (step mount_scratch): No such device"
std::string at_step(const std::string& what, launcher::Step step, int error_number) {
  return what + " (step " + std::string(launcher::name_of(step)) + "): " + reason_of(error_number);
}

// The host's lack, not the function's fault: later is fine.
Error host_error(std::string message, int error_number) {
  const bool full = error_number == EAGAIN || error_number == ENOMEM || error_number == EMFILE ||
                    error_number == ENFILE || error_number == ENOSPC;
  return {.code = full ? Errc::resource_exhausted : Errc::unavailable,
          .message = std::move(message),
          .retry_after = std::chrono::seconds(1)};
}

// Why a path of the function's `files` is no place for a file; empty for whatever else fails there.
std::string_view no_place(const launcher::PrepareFailed& failed) {
  if (failed.step != launcher::Step::provided) return {};
  switch (failed.error) {
    case ELOOP: return "a link is in the way, write the path to which it leads";
    case ENOTDIR: return "a file lies where the path needs a directory";
    case EISDIR: return "a file would take the place of all that it shows, write the path of a file";
    default: return {};
  }
}

Error exec_error(const launcher::SpawnFailed& failed, const SpawnContext& context) {
  const auto interpreter = interpreter_of(context.function.script);
  const std::string program = interpreter ? "interpreter '" + *interpreter + "' of the script" : "'/bin/sh'";
  Error error{.code = Errc::invalid_argument, .message = {}};
  switch (failed.error) {
    case ENOENT:
      error.message = program + " does not exist in image '" + context.function.image + "'";
      if (interpreter && interpreter->ends_with('\r')) error.message += ": the script has Windows line ends";
      break;
    case EACCES:
    case ENOEXEC:
    case ENOTDIR:
    case EISDIR: error.message = program + " cannot be executed: " + reason_of(failed.error); break;
    case E2BIG: error.message = "environment and arguments together are longer than the system allows"; break;
    default: return host_error(at_step("start " + program, failed.step, failed.error), failed.error);
  }
  error.message += " (step exec)";
  return error;
}

Error input_error(const launcher::SpawnFailed& failed, const SpawnContext& context) {
  const std::string name = context.inputs.size() == 1 ? "input '" + context.inputs.front() + "'" : "an input";
  switch (failed.error) {
    case ENOENT: return {.code = Errc::not_found, .message = name + " was removed or replaced while it was attached"};
    case EACCES:
    case EPERM:
      return {.code = Errc::permission_denied,
              .message = at_step("attach " + name, failed.step, failed.error) +
                         "; let the daemon's user own the file or read it by its primary group"};
    case ENOSPC:
      return {.code = Errc::too_large,
              .message = name + " does not fit into the function's scratch space: raise limits.scratch"};
    default: return host_error(at_step("attach " + name, failed.step, failed.error), failed.error);
  }
}

}  // namespace

Error error_of(const launcher::PrepareFailed& failed) {
  if (const auto why = no_place(failed); !why.empty()) {
    return {.code = Errc::invalid_argument, .message = "files: cannot " + failed.text + ": " + std::string(why)};
  }
  std::string message = at_step("prepare the function", failed.step, failed.error);
  if (!failed.text.empty()) message += " (" + failed.text + ")";
  const bool of_image = failed.step == launcher::Step::image || failed.step == launcher::Step::provided;
  const bool lasting = failed.error == ELOOP || failed.error == ENOTDIR || failed.error == EACCES ||
                       failed.error == EINVAL || failed.error == ENAMETOOLONG;
  if (of_image && lasting) return {.code = Errc::invalid_argument, .message = std::move(message)};
  return host_error(std::move(message), failed.error);
}

Error error_of(const launcher::SpawnFailed& failed, const SpawnContext& context) {
  const std::string what = "start function '" + context.function.name + "'";
  switch (failed.step) {
    case launcher::Step::exec: return exec_error(failed, context);
    case launcher::Step::input: return input_error(failed, context);
    case launcher::Step::output:
      if (failed.error != EACCES && failed.error != EPERM) break;
      return {.code = Errc::permission_denied, .message = at_step("attach its outputs", failed.step, failed.error)};
    case launcher::Step::image:
    case launcher::Step::provided:
    case launcher::Step::root_file_system:
      return error_of(launcher::PrepareFailed{.step = failed.step, .error = failed.error, .text = failed.text});
    case launcher::Step::runtime: {
      Error error = host_error(what + " (step runtime)", failed.error);
      error.message += ": " + failed.text;
      return error;
    }
    case launcher::Step::request:
      if (failed.error != EILSEQ) break;
      return {.code = Errc::invalid_argument, .message = what + ": " + failed.text + "; write executor: container"};
    case launcher::Step::template_died:
      return {.code = Errc::unavailable, .message = what + ": its template was killed meanwhile; it is built anew"};
    default: break;
  }
  return host_error(at_step(what, failed.step, failed.error), failed.error);
}

}  // namespace millrace::launched
