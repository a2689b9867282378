#include "engine/stage_in.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "formats/storage_event.h"
#include "formats/timestamp.h"

namespace millrace {
namespace {

// The kernel's bound of one environment string, less the name and the '='; a larger event is on stdin only.
constexpr std::size_t kEventVariableBytesMax = (128 << 10) - 16;

std::string base_name(const std::string& key) {
  return key.substr(key.rfind('/') + 1);
}

Result<void> write_all(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(error_from_errno(errno, "write " + path));
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

// The CloudEvents attributes of what happened. A value that no environment can hold is left out.
void set_attributes(const Event& event, std::map<std::string, std::string>& environment) {
  const auto set = [&environment](const char* name, const std::string& value) {
    if (!value.empty() && value.find('\0') == std::string::npos) environment[name] = value;
  };
  set("MILLRACE_EVENT_TYPE", event.type);
  set("MILLRACE_EVENT_SOURCE", event.source);
  set("MILLRACE_EVENT_SUBJECT", event.subject);
  set("MILLRACE_EVENT_CONTENT_TYPE", event.content_type);
}

}  // namespace

ScratchFile& ScratchFile::operator=(ScratchFile&& other) noexcept {
  std::swap(path_, other.path_);
  return *this;
}

ScratchFile::~ScratchFile() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

StageIn::StageIn(ObjectStore& objects, BlockingPool& pool, std::string scratch)
    : objects_(objects), pool_(pool), scratch_(std::move(scratch)) {}

Task<Result<OpenedObject>> StageIn::open_checked(ObjectRef object) {
  const bool ours = !object.private_path.empty();
  const std::string name = object.bucket + "/" + object.key;
  auto opened = co_await objects_.open(object);
  if (!opened) {
    const bool gone = opened.error().code == Errc::not_found || opened.error().code == Errc::failed_precondition;
    if (ours && gone) co_return fail(Errc::data_loss, "our copy of " + name + " is gone: " + object.private_path);
    co_return fail(opened.error().with("input " + name));
  }
  if (opened->version != object.version) {
    if (ours) co_return fail(Errc::data_loss, "our copy of " + name + " was changed: " + object.private_path);
    co_return fail(Errc::failed_precondition, "input " + name + " was replaced");
  }
  co_return opened;
}

Task<Result<StagedIn>> StageIn::stage(std::shared_ptr<const FunctionSpec> function, Event event, RunId run_id) {
  StagedIn staged;
  staged.environment = function->environment;
  staged.environment["REQUEST_ID"] = run_id.str();
  staged.environment["JOB_UUID"] = run_id.str();
  staged.environment["RESOURCE_ID"] = run_id.str();
  staged.environment["OSCAR_SERVICE_NAME"] = function->name;
  staged.environment["MILLRACE_FUNCTION"] = function->name;
  staged.environment["MILLRACE_RUN_ID"] = run_id.str();
  staged.environment["MILLRACE_EVENT_ID"] = event.id.str();
  set_attributes(event, staged.environment);

  // Data that is too large for its event lies in the store, and is the function's input file as any other.
  if (event.object && event.type == kResult) {
    auto opened = co_await open_checked(*event.object);
    if (!opened) co_return fail(opened.error());
    staged.inputs.push_back(
        {.name = "event-file-" + run_id.str(), .fd = std::move(opened->fd), .host_path = std::move(opened->host_path)});
    co_return staged;
  }
  if (event.object) {
    staged.environment["STORAGE_OBJECT_KEY"] = event.object->key;
    staged.environment["EVENT_TIME"] = format_timestamp(event.time);
    staged.stdin_bytes = storage_event_json(*event.object, event.time, event.id);
    if (function->stage_in) {
      auto opened = co_await open_checked(*event.object);
      if (!opened) co_return fail(opened.error());
      staged.inputs.push_back({.name = base_name(event.object->key),
                               .fd = std::move(opened->fd),
                               .host_path = std::move(opened->host_path)});
    }
  } else {
    staged.stdin_bytes = event.data;
    if (function->stage_in) {
      const std::string name = "event-file-" + run_id.str();
      const std::string path = scratch_ + "/" + name + "-" + random_hex(4);
      staged.scratch = ScratchFile(path);  // before it is there: a failed write leaves one, too
      auto input = co_await write_body(name, event.data, path);
      if (!input) co_return fail(input.error());
      staged.inputs.push_back(std::move(*input));
    }
  }
  const bool fits = staged.stdin_bytes.size() <= kEventVariableBytesMax;
  if (fits && staged.stdin_bytes.find('\0') == std::string::npos) staged.environment["EVENT"] = staged.stdin_bytes;
  co_return staged;
}

Task<Result<InputFile>> StageIn::write_body(std::string name, std::string body, std::string path) {
  auto written = co_await pool_.run([name, body, path]() -> Result<InputFile> {
    Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd) return fail(error_from_errno(errno, "create " + path));
    if (auto done = write_all(fd.get(), body, path); !done) return fail(done.error());
    Fd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!reader) return fail(error_from_errno(errno, "open " + path));
    return InputFile{.name = name, .fd = std::move(reader), .host_path = path};
  });
  co_return written;
}

Task<Result<void>> StageIn::unchanged(ObjectRef object) {
  const auto opened = co_await open_checked(std::move(object));
  if (!opened) co_return fail(opened.error());
  co_return Result<void>{};
}

}  // namespace millrace
