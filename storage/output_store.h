// The output store port: what makes results appear once and whole, however often a run is attempted.
//
//   auto attempt = co_await outputs.make_attempt({"people", run_id, token});   // the function's TMP_OUTPUT_DIR
//   ... the function runs and ends ...
//   auto files = co_await outputs.seal(where, limits, rank);                   // durable, private, not yet visible
//   ... one row is committed that names them ...
//   co_await outputs.place({file}, rank);                                     // visible under the user's name
//
// An attempt lives in `.millrace/<2 hex>/<run>-<token>/` of the destination bucket (of the store's own root for a
// function without outputs): on the same file system as the user's names, below a directory of mode 0700 that is never
// passed into a sandbox. Nothing here lists a bucket but attempts(), and that only our own part.
//
// Threads: called on the domain loop, resumes there; blocking work is done elsewhere.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "async/task.h"
#include "core/error.h"
#include "core/fd.h"
#include "core/run.h"

namespace millrace {

// Where one attempt's files are.
struct AttemptPlace {
  std::string bucket;  // empty: the store's own root
  RunId run_id;
  AttemptToken token;

  auto operator<=>(const AttemptPlace&) const = default;
};

struct AttemptDirectory {
  Fd fd;                         // the directory, opened O_RDONLY|O_DIRECTORY
  std::string host_path;         // absolute
  std::uint64_t free_bytes = 0;  // on its file system, for us, when it was made
};

// A directory of an attempt, as it was found.
struct FoundAttempt {
  AttemptPlace place;
  WallTime changed_at;  // of its own entries, by the file system's clock
};

struct SealLimits {
  std::uint64_t bytes_max = 0;
  std::uint32_t files_max = 0;  // folders count as files: they cost the host as much
};

// What lies below an attempt's directory. A file counts with its length or with what it occupies, whichever is more.
struct AttemptUsage {
  std::uint64_t bytes = 0;
  std::uint64_t files = 0;
};

// One file that the function left, made ours.
struct SealedFile {
  std::string name;  // relative to the attempt's directory
  std::string source_path;
  ObjectVersion placed;
  std::string private_path;
  ObjectVersion version;
  std::string sha256;
};

struct Sealed {
  std::vector<SealedFile> files;     // sorted by name
  std::vector<std::string> refused;  // one text each: a symlink, a device, a name too long; never followed or opened
};

// Who a name belongs to when several runs make it: the greatest. Compared by order, then generation, then event id.
struct OutputRank {
  Order order;
  std::uint32_t generation = 0;
  EventId event_id;
  RunId run_id;  // says whose it is; equal ranks are the same run

  auto operator<=>(const OutputRank&) const = default;
};

enum class Placed : std::uint8_t {
  appeared,    // the name was free, or was already this very file
  replaced,    // something that was not ours, or an earlier run's, made room
  superseded,  // a later run's file has the name, or the user has removed or replaced ours since: it stays so
};

// Which run an object says it comes from; copies made by users say so too, so this alone proves nothing: an object is
// ours if the row of `run_id` names exactly it among its outputs. The mark sits on the file that the function made,
// which may appear under several names, so it holds no index.
struct OutputMark {
  RunId run_id;
};

// Which of two errors over one run's results is told: what a later try may mend, since a run is given up only for names
// that no try can place.
[[nodiscard]] inline Error told_error(Error first, Error second) {
  return retryable(second.code) && !retryable(first.code) ? std::move(second) : std::move(first);
}

class OutputStore {
 public:
  virtual ~OutputStore() = default;

  virtual Task<Result<AttemptDirectory>> make_attempt(AttemptPlace place) = 0;

  // After the function's last process is gone: takes every regular file below the attempt's directory, strips
  // setuid, setgid and sticky, marks it with `rank`, makes the private copies, hashes, syncs. `too_large` over a limit,
  // naming it. A second call, after a crash of the first, gives the same files; what is to be placed is made anew.
  virtual Task<Result<Sealed>> seal(AttemptPlace place, SealLimits limits, OutputRank rank) = 0;

  // What is below the attempt's directory right now, for limits while the function runs; counting ends as soon as it is
  // over one of `limits`. `too_large` for folders nested deeper than can be looked into.
  virtual Task<Result<AttemptUsage>> measure(AttemptPlace place, SealLimits limits) = 0;

  // Makes a run's results visible under their buckets and keys, durably; `rank` is the one they were sealed with. When
  // all stand, the copies that were made to be placed go. Idempotent. What became of each, in their order; or an error,
  // as told_error() chooses, after everything that can be placed is.
  // `failed_precondition` naming path and cause when a name is a directory or leads through a file, and when its
  // bucket is on another file system than the attempt's.
  virtual Task<Result<std::vector<Placed>>> place(std::vector<OutputFile> files, OutputRank rank) = 0;

  // Removes an attempt's directory with everything in it. Not finding it is success. After a power cut it may be back.
  virtual Task<Result<void>> remove_attempt(AttemptPlace place) = 0;

  // The directories of attempts that are there, by bucket, run and token, those after `after` (all empty: from the
  // first): `limit` of them and those whose runs' ids begin with the same two characters, or fewer at the end. Reads
  // our part of every bucket, so not for every day. One that cannot be read is an error of the page behind all others.
  virtual Task<Result<std::vector<FoundAttempt>>> attempts(AttemptPlace after, std::size_t limit) = 0;

  // The mark that this very version of an object carries, if any: names change hands at any time, and another version's
  // mark says nothing about this one. `not_found` when the object is gone or is another version.
  virtual Task<Result<std::optional<OutputMark>>> mark_of(ObjectRef object) = 0;
};

}  // namespace millrace
