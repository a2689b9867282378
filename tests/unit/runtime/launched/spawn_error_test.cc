#include "runtime/launched/spawn_error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace millrace::launched {
namespace {

using launcher::Step;

class SpawnError : public testing::Test {
 protected:
  Error of(Step step, int error_number, std::string script = "#!/usr/bin/pythn -u\n") {
    function_.name = "thumbs";
    function_.script = std::move(script);
    return error_of({.run = 1, .step = step, .error = error_number},
                    SpawnContext{.function = function_, .inputs = {"cat.jpg"}});
  }
  FunctionSpec function_;
};

TEST_F(SpawnError, NamesTheInterpreter) {
  const auto error = of(Step::exec, ENOENT);
  EXPECT_EQ(error.code, Errc::invalid_argument);
  EXPECT_EQ(error.message, "interpreter '/usr/bin/pythn' of the script does not exist in image 'host' (step exec)");
  EXPECT_NE(of(Step::exec, ENOENT, "#!/bin/sh\r\n").message.find("Windows line ends"), std::string::npos);
  EXPECT_EQ(of(Step::exec, EACCES).message,
            "interpreter '/usr/bin/pythn' of the script cannot be executed: Permission denied (step exec)");
  EXPECT_EQ(of(Step::exec, E2BIG).code, Errc::invalid_argument);
  EXPECT_TRUE(of(Step::exec, ENOENT, "echo").message.starts_with("'/bin/sh' does not exist"));
  EXPECT_EQ(of(Step::exec, ENOMEM).code, Errc::resource_exhausted);
}

TEST_F(SpawnError, NamesTheInput) {
  EXPECT_EQ(of(Step::input, ENOENT).code, Errc::not_found);
  EXPECT_EQ(of(Step::input, ENOENT).message, "input 'cat.jpg' was removed or replaced while it was attached");
  EXPECT_EQ(of(Step::input, EACCES).code, Errc::permission_denied);
  EXPECT_EQ(of(Step::input, ENOSPC).code, Errc::too_large);
  EXPECT_EQ(of(Step::input, EINVAL).code, Errc::unavailable);
}

TEST_F(SpawnError, TakesTheHostsLackForTemporary) {
  for (const auto step : {Step::cgroup, Step::clone, Step::mount_proc, Step::seccomp, Step::template_died}) {
    EXPECT_TRUE(retryable(of(step, EINVAL).code)) << name_of(step);
  }
  EXPECT_EQ(of(Step::clone, EAGAIN).code, Errc::resource_exhausted);
  EXPECT_EQ(of(Step::clone, EINVAL).message, "start function 'thumbs' (step clone): Invalid argument");
  EXPECT_EQ(of(Step::output, EACCES).code, Errc::permission_denied);
  EXPECT_EQ(of(Step::output, EIO).code, Errc::unavailable);
}

TEST_F(SpawnError, RepeatsWhatARuntimeSaid) {
  const SpawnContext context{.function = function_, .inputs = {}};
  function_.name = "thumbs";
  const auto refused =
      error_of({.run = 1, .step = Step::runtime, .error = EIO, .text = "runc: cannot do that"}, context);
  EXPECT_EQ(refused.code, Errc::unavailable);
  EXPECT_EQ(refused.message, "start function 'thumbs' (step runtime): runc: cannot do that");
  const auto no_text =
      error_of({.run = 1, .step = Step::request, .error = EILSEQ, .text = "an input's name is no UTF-8"}, context);
  EXPECT_EQ(no_text.code, Errc::invalid_argument);
  EXPECT_TRUE(no_text.message.ends_with("an input's name is no UTF-8; write executor: container")) << no_text.message;
  // An image is looked at by each run then.
  EXPECT_EQ(error_of({.run = 1, .step = Step::image, .error = ELOOP, .text = "/etc"}, context).code,
            Errc::invalid_argument);
  EXPECT_EQ(error_of({.run = 1, .step = Step::root_file_system, .error = ENODEV}, context).code, Errc::unavailable);
}

TEST_F(SpawnError, TellsWhyPreparingFailed) {
  const auto error =
      error_of({.template_id = 1, .step = Step::root_file_system, .error = ENODEV, .text = "mount overlay on /usr"});
  EXPECT_EQ(error.code, Errc::unavailable);
  EXPECT_EQ(error.message, "prepare the function (step root_file_system): No such device (mount overlay on /usr)");
}

TEST_F(SpawnError, SaysWhatIsWrongWithThePathOfAFile) {
  const auto of_path = [](int error_number, const std::string& text) {
    return error_of({.template_id = 1, .step = Step::provided, .error = error_number, .text = text});
  };
  const auto link = of_path(ELOOP, "place the file /bin/x, at /bin: Too many levels of symbolic links");
  EXPECT_EQ(link.code, Errc::invalid_argument);
  EXPECT_EQ(link.message,
            "files: cannot place the file /bin/x, at /bin: Too many levels of symbolic links: a link is in the way, "
            "write the path to which it leads");
  EXPECT_TRUE(of_path(ENOTDIR, "").message.ends_with(": a file lies where the path needs a directory"));
  const auto directory = of_path(EISDIR, "place the file /etc: Is a directory");
  EXPECT_EQ(directory.code, Errc::invalid_argument);
  EXPECT_EQ(directory.message,
            "files: cannot place the file /etc: Is a directory: a file would take the place of all that it shows, "
            "write the path of a file");
  EXPECT_TRUE(retryable(of_path(ENOSPC, "place the file /etc/x").code));
}

}  // namespace
}  // namespace millrace::launched
