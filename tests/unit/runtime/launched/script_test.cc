#include "runtime/launched/script.h"

#include <gtest/gtest.h>

namespace millrace::launched {
namespace {

TEST(Script, IsRunByItsFirstLine) {
  EXPECT_EQ(argv_of("#!/usr/bin/python3\nprint(1)\n", "/s"), std::vector<std::string>{"/s"});
  EXPECT_EQ(argv_of("echo hi\n", "/s"), (std::vector<std::string>{"/bin/sh", "/s"}));
  EXPECT_EQ(argv_of("", "/s"), (std::vector<std::string>{"/bin/sh", "/s"}));
}

TEST(Script, NamesItsInterpreter) {
  EXPECT_EQ(interpreter_of("#!/bin/sh\n"), "/bin/sh");
  EXPECT_EQ(interpreter_of("#! /usr/bin/env python3\n"), "/usr/bin/env");
  EXPECT_EQ(interpreter_of("#!/bin/sh"), "/bin/sh");
  EXPECT_EQ(interpreter_of("#!/bin/sh\r\n"), "/bin/sh\r");
  EXPECT_EQ(interpreter_of("#!"), "");
  EXPECT_EQ(interpreter_of("#!  \necho\n"), "");
  EXPECT_EQ(interpreter_of("echo #!/bin/sh"), std::nullopt);
}

}  // namespace
}  // namespace millrace::launched
