#include "cli/commands.h"

#include <gtest/gtest.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "cli/exit_codes.h"
#include "tests/support/temp_dir.h"

namespace millrace::cli {
namespace {

// Nobody listens on port 1 of loopback.
constexpr const char* kNobody = "http://127.0.0.1:1";

struct Ended {
  int code = 0;
  std::string out;
  std::string err;
};

Ended run(const std::vector<std::string>& arguments) {
  CLI::App app("test");
  app.name("millrace");
  Globals globals;
  int exit_code = kOk;
  add_commands(app, globals, exit_code);
  std::vector<const char*> argv{"millrace"};
  for (const auto& argument : arguments) argv.push_back(argument.c_str());
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Ended ended;
  ended.code = parse_and_run(app, static_cast<int>(argv.size()), argv.data(), exit_code);
  ended.out = testing::internal::GetCapturedStdout();
  ended.err = testing::internal::GetCapturedStderr();
  return ended;
}

TEST(CommandLine, NeedsACommand) {
  const auto ended = run({});
  EXPECT_EQ(ended.code, kUsage);
  EXPECT_TRUE(ended.err.starts_with("millrace: ")) << ended.err;
}

TEST(CommandLine, AnUnknownCommandIsToldItsNeighbour) {
  const auto ended = run({"topcis"});
  EXPECT_EQ(ended.code, kUsage);
  EXPECT_EQ(ended.err, "millrace: unknown command 'topcis'; did you mean 'topics'? Try `millrace --help`.\n");
  EXPECT_EQ(run({"xyzzyxyzzy"}).err, "millrace: unknown command 'xyzzyxyzzy'. Try `millrace --help`.\n");
}

TEST(CommandLine, UsageErrorsAreOneLineWithTheWayToHelp) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"runs", "--nonsense"},
                                                    {"put", "one"},
                                                    {"get"},
                                                    {"ls", "-o", "xml"},
                                                    {"ls", "--limit", "0"},
                                                    {"runs", "some-run", "-f", "f"},
                                                    {"publish", "t", "--text", "a", "--file", "b"},
                                                    {"publish", "t", "a", "--lines", "b"},
                                                    {"topics", "--messages-max", "3"},
                                                    {"purge"},
                                                    {"purge", "t", "u"},
                                                    {"logs", "a", "b"}}) {
    const auto ended = run(arguments);
    EXPECT_EQ(ended.code, kUsage) << arguments[0];
    EXPECT_EQ(ended.out, "");
    EXPECT_NE(ended.err.find("try `millrace " + arguments[0] + " --help`\n"), std::string::npos) << ended.err;
    EXPECT_EQ(ended.err.find('\n'), ended.err.size() - 1) << ended.err;
  }
}

TEST(CommandLine, HelpTellsTheExitCodes) {
  const auto ended = run({"--help"});
  EXPECT_EQ(ended.code, kOk);
  EXPECT_NE(ended.out.find("Exit codes:"), std::string::npos);
  for (const auto* command : {"apply", "ls", "rm", "run", "put", "get", "publish", "runs", "logs", "wait", "why",
                              "redrive", "topics", "cancel", "stats", "purge"}) {
    EXPECT_NE(ended.out.find(std::string("\n  ") + command), std::string::npos) << command;
    EXPECT_NE(run({command, "--help"}).out.find("--url"), std::string::npos) << command;
  }
}

TEST(CommandLine, WithoutAServerItSaysSo) {
  const auto ended = run({"ls", "--url", kNobody});
  EXPECT_EQ(ended.code, kUnreachable);
  EXPECT_NE(ended.err.find("no server at http://127.0.0.1:1"), std::string::npos) << ended.err;
}

TEST(CommandLine, FindsTheServerThroughItsDataDirectory) {
  const test::TempDir data;
  std::ofstream(data / "listen") << "127.0.0.1:1\n";
  const auto ended = run({"ls", "--data", data.path()});
  EXPECT_EQ(ended.code, kUnreachable);
  EXPECT_NE(ended.err.find("no server at http://127.0.0.1:1"), std::string::npos) << ended.err;
}

TEST(CommandLine, WrongUseIsFoundBeforeTheServerIsAsked) {
  for (const std::vector<std::string>& arguments : {std::vector<std::string>{"wait"},
                                                    {"wait", "--idle", "run"},
                                                    {"wait", "run", "--timeout", "soon"},
                                                    {"get", "bucket"},
                                                    {"get", "/x"},
                                                    {"put", "-", "bucket/"},
                                                    {"put", "/dev/null", "b/x"},
                                                    {"rm", "a/b"},
                                                    {"rm", "--object", "bucket"},
                                                    {"run", "f", "--input", "/dev/null", "--id", "a\nb"},
                                                    {"publish", "t", "--text", "x", "--subject", "a\r\nb"},
                                                    {"publish", "t", "x", "--header", "tenant"},
                                                    {"publish", "t", "x", "--header", "ce-id=7"},
                                                    {"publish", "t", "x", "--header", "A_b=7"},
                                                    {"publish", "t", "--lines", "/dev", "--header", "a=b"}}) {
    auto all = arguments;
    all.insert(all.end(), {"--url", kNobody});
    const auto ended = run(all);
    EXPECT_EQ(ended.code, kUsage) << arguments[0] << ": " << ended.err;
    EXPECT_TRUE(ended.err.starts_with("millrace: ")) << ended.err;
  }
}

TEST(CommandLine, AFileThatCannotBeOpenedIsWrongUse) {
  const test::TempDir dir;
  const std::string none = dir / "none";
  const std::string below_a_file = "/dev/null/below";
  const std::string long_name = dir / std::string(300, 'a');
  for (const auto& file : {none, below_a_file, long_name, dir.path()}) {
    for (const std::vector<std::string>& arguments : {std::vector<std::string>{"apply", file},
                                                      {"apply", "--check", file},
                                                      {"put", file, "bucket/x"},
                                                      {"run", "f", "--input", file},
                                                      {"publish", "t", "--file", file},
                                                      {"publish", "t", "--lines", file}}) {
      auto all = arguments;
      all.insert(all.end(), {"--url", kNobody});
      const auto ended = run(all);
      EXPECT_EQ(ended.code, kUsage) << arguments[0] << " " << file << ": " << ended.err;
      EXPECT_NE(ended.err.find(file), std::string::npos) << ended.err;
    }
  }
  for (const auto& target : {none + "/x", below_a_file}) {
    EXPECT_EQ(run({"get", "b/x", target, "--url", kNobody}).code, kUsage) << target;
  }
  testing::internal::CaptureStderr();
  Globals globals;
  globals.url = kNobody;
  EXPECT_EQ(check_files(globals, {none}), kUsage);
  EXPECT_NE(testing::internal::GetCapturedStderr().find(none), std::string::npos);
}

TEST(CommandLine, WhatIsTooLargeIsWrongUse) {
  const test::TempDir dir;
  std::ofstream(dir / "large") << std::string((1 << 20) + 1, 'x');
  EXPECT_EQ(run({"run", "f", "--input", dir / "large", "--url", kNobody}).code, kUsage);
  EXPECT_EQ(run({"publish", "t", "--file", dir / "large", "--url", kNobody}).code, kUsage);
  EXPECT_EQ(exit_code(Errc::too_large), kUsage) << "whoever notices it";
}

TEST(Apply, ReadsTheFileBeforeTheServerIsAsked) {
  const test::TempDir dir;
  std::ofstream(dir / "f.yaml") << "functions:\n  millrace:\n  - name: a\n    script: nowhere.sh\n    memroy: 1Gi\n";
  const auto ended = run({"apply", dir / "f.yaml", "--url", kNobody});
  EXPECT_EQ(ended.code, kUsage);
  EXPECT_NE(ended.err.find("f.yaml"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("line 4"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("nowhere.sh"), std::string::npos) << ended.err;
  EXPECT_NE(ended.err.find("'memory'"), std::string::npos) << ended.err;
}

TEST(Apply, RefusesAFunctionThatStandsInTwoFiles) {
  const test::TempDir dir;
  for (const auto* name : {"a.yaml", "b.yaml"}) {
    std::ofstream(dir / name) << "functions:\n  millrace:\n  - name: a\n    script: \"true\\n\"\n";
  }
  const auto ended = run({"apply", dir / "a.yaml", dir / "b.yaml", "--url", kNobody});
  EXPECT_EQ(ended.code, kUsage);
  EXPECT_NE(ended.err.find("b.yaml: function 'a' stands in an earlier file too"), std::string::npos) << ended.err;
}

TEST(Check, OfFilesNeedsAServerThatKnowsItsHost) {
  const test::TempDir dir;
  std::ofstream(dir / "script") << "true";  // one line, no newline: still the content for the server
  std::ofstream(dir / "f.yaml") << "functions:\n  millrace:\n  - name: a\n    script: script\n";
  testing::internal::CaptureStderr();
  Globals globals;
  globals.url = kNobody;
  EXPECT_EQ(check_files(globals, {dir / "f.yaml"}), kUnreachable);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("no server"), std::string::npos);
}

}  // namespace
}  // namespace millrace::cli
