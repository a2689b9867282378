// Stage in: turns an event into what the function finds: an input file, the event's bytes on stdin, the environment of
// OSCAR's contract.
//
// Local files are passed as descriptors of the very file, never copied. Bodies without a file of their own get one in
// the scratch directory for the time of the run.
//
// Threads: the domain loop; writing is done by the pool.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "async/blocking_pool.h"
#include "async/task.h"
#include "core/error.h"
#include "core/event.h"
#include "core/function_spec.h"
#include "runtime/executor.h"
#include "storage/object_store.h"

namespace millrace {

// A file in the scratch directory that is removed with this object.
class ScratchFile {
 public:
  ScratchFile() = default;
  explicit ScratchFile(std::string path) : path_(std::move(path)) {}
  ScratchFile(ScratchFile&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  ScratchFile& operator=(ScratchFile&& other) noexcept;
  ~ScratchFile();

 private:
  std::string path_;
};

struct StagedIn {
  std::vector<InputFile> inputs;
  std::map<std::string, std::string> environment;
  std::string stdin_bytes;
  ScratchFile scratch;  // alive while the function runs
};

class StageIn {
 public:
  // `scratch` is an existing directory of ours.
  StageIn(ObjectStore& objects, BlockingPool& pool, std::string scratch);

  // `not_found`: the input is gone; `failed_precondition`: it is not the version the event is about any more. For an
  // object of a user both mean `skipped`: the new content has its own event. For our private copy they are `data_loss`.
  [[nodiscard]] Task<Result<StagedIn>> stage(std::shared_ptr<const FunctionSpec> function, Event event, RunId run_id);

  // After the run: whether the input is still what it was.
  [[nodiscard]] Task<Result<void>> unchanged(ObjectRef object);

 private:
  Task<Result<OpenedObject>> open_checked(ObjectRef object);
  Task<Result<InputFile>> write_body(std::string name, std::string body, std::string path);

  ObjectStore& objects_;
  BlockingPool& pool_;
  std::string scratch_;
};

}  // namespace millrace
