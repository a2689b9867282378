// What the kernel tells about directories: one inotify instance behind an interface small enough to be faked.
//
//   auto watch = source.add(directory.get());       // from any thread
//   auto batch = source.read();                     // on the loop, when fd() is readable
//
// The watch belongs to the directory, not to its name: who moves it away keeps being told about it. Notifications about
// one instance come in the order in which things happened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/fd.h"

namespace millrace {

enum class WatchNoteKind : std::uint8_t {
  file,  // a name was created, linked or moved in, or somebody who could write closed it
  folder_appeared,
  folder_left,  // moved away; one that is deleted ends its own watch
  watch_moved,  // the watched directory itself has another name now
  watch_ended,  // it is gone or was removed: the number may be given out again
  overflow,     // the kernel's queue was full: anything may have happened anywhere
};

struct WatchNote {
  int watch = -1;
  WatchNoteKind kind = WatchNoteKind::overflow;
  std::string name;  // within the watched directory
};

struct WatchBatch {
  std::vector<WatchNote> notes;
  std::size_t bytes = 0;  // of the kernel's queue; 0: it was empty
};

class WatchSource {
 public:
  virtual ~WatchSource() = default;

  [[nodiscard]] virtual int fd() const = 0;  // readable when something is queued

  // Watches an open directory; the same directory again gives the same number. Any thread; may block. `no_space` when
  // the kernel's limit of watches is reached.
  [[nodiscard]] virtual Result<int> add(int directory) = 0;

  // What is not watched is no error: the kernel may have been faster.
  virtual void remove(int watch) = 0;

  // A bounded part of what is queued; never blocks.
  [[nodiscard]] virtual Result<WatchBatch> read() = 0;

  // How many bytes read() has to return before everything queued by now is read.
  [[nodiscard]] virtual Result<std::size_t> queued_bytes() = 0;
};

class Inotify final : public WatchSource {
 public:
  [[nodiscard]] static Result<Inotify> open();

  int fd() const override { return fd_.get(); }
  Result<int> add(int directory) override;
  void remove(int watch) override;
  Result<WatchBatch> read() override;
  Result<std::size_t> queued_bytes() override;

 private:
  explicit Inotify(Fd fd) : fd_(std::move(fd)) {}

  Fd fd_;
};

// The kernel's own limit of watches for this user, 0 when it cannot be read.
[[nodiscard]] std::size_t kernel_watches_max();

}  // namespace millrace
