// Executor `container`: the function runs in a sandbox of its own namespaces, with a read-only view of this machine's
// programs (image: host) or a root file system in a directory (image: rootfs:/path), its inputs attached read-only and
// its output directory writable.
//
// The same class is executor `oci`: the launcher then has an OCI runtime make the sandbox.
//
// Thread: the loop's. SIGPIPE must be ignored in this process (runtime/launched/pipe_stream.h).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "async/blocking_pool.h"
#include "async/event_loop.h"
#include "runtime/executor.h"
#include "runtime/launched/launcher_client.h"

namespace millrace {

class ContainerExecutor final : public Executor {
 public:
  struct Options {
    std::vector<std::string> image_directories = {};  // beneath which images may lie; the launcher knows the same
    ExecutorKind kind = ExecutorKind::container;      // or oci
    bool allow_host_network = false;                  // functions may ask for the machine's own network
  };

  ContainerExecutor(EventLoop& loop, launched::LauncherClient& client, BlockingPool& pool, Options options);

  std::vector<Control> controls() const override;
  Task<Result<std::vector<std::string>>> check(std::shared_ptr<const FunctionSpec> function) override;
  Task<Result<Execution>> run(ExecutionRequest request, std::stop_token stop) override;
  void forget(const FunctionUid& function, std::uint64_t revision) override;

 private:
  // Builds the function's root file system once and lets it go: what only root can tell, as whether the image's file
  // system maps owners, and whether every one of its files has a place, is known at apply then and not at the first
  // run.
  Task<Result<void>> try_image(std::shared_ptr<const FunctionSpec> function);
  // Opens the function's image, if it is a directory.
  std::function<Task<Result<Fd>>()> image_opener(std::shared_ptr<const FunctionSpec> function);

  EventLoop& loop_;
  launched::LauncherClient& client_;
  BlockingPool& pool_;
  Options options_;
  std::uint64_t images_tried_ = 0;
};

}  // namespace millrace
