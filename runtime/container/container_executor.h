// Executor `container`: the function runs in a sandbox of its own namespaces, with a read-only view of this machine's
// programs (image: host) or a root file system in a directory (image: rootfs:/path), its inputs attached read-only and
// its output directory writable.
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
    std::uint64_t machine_memory_bytes = 0;           // 0: what this machine has
    std::vector<std::string> image_directories = {};  // beneath which images may lie; the launcher knows the same
  };

  ContainerExecutor(EventLoop& loop, launched::LauncherClient& client, BlockingPool& pool, Options options);

  std::vector<Control> controls() const override;
  Task<Result<std::vector<std::string>>> check(std::shared_ptr<const FunctionSpec> function) override;
  Task<Result<Execution>> run(ExecutionRequest request, std::stop_token stop) override;
  void forget(const FunctionUid& function, std::uint64_t revision) override;

 private:
  // Opens the function's image, if it is a directory.
  std::function<Task<Result<Fd>>()> image_opener(std::shared_ptr<const FunctionSpec> function);

  EventLoop& loop_;
  launched::LauncherClient& client_;
  BlockingPool& pool_;
  Options options_;
};

}  // namespace millrace
