#include "formats/fdl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "core/reserved_environment.h"
#include "tests/unit/formats/fdl_fixture.h"

namespace millrace {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using test::fdl;
using test::one;
using test::problems_of;
using test::read;
using test::read_file;
using test::Texts;
using testing::HasSubstr;

// The only problem of a function with these fields, without its line and the path's common beginning.
std::string problem(std::string_view fields) {
  const auto texts = problems_of(fdl(fields));
  if (texts.size() != 1) return "problems: " + std::to_string(texts.size()) + testing::PrintToString(texts);
  constexpr std::string_view kPath = "functions.millrace[0].";
  const auto at = texts[0].find(kPath);
  return at == std::string::npos ? texts[0] : texts[0].substr(at + kPath.size());
}

TEST(FdlMillrace, ReadsEveryField) {
  const auto functions = read(R"(
functions:
  millrace:
  - name: thumbs-2
    image: docker.io/library/alpine:3
    script: |
      #!/bin/sh
      convert "$INPUT_FILE_PATH" "$TMP_OUTPUT_DIR/x.png"
    memory: 512Mi
    cpu: 0.5
    input:
    - storage_provider: local.default
      path: pics/in
    output:
    - storage_provider: local
      path: pics-out
      prefix: [a, b]
      suffix: [.png]
    environment:
      VERSION: 1.10
      ANSWER: "42"
      DEBUG: true
      EMPTY:
    timeout: 90s
    grace: 500ms
    concurrency: 4
    weight: 3
    retries: 1
    retry: {base: 2s, cap: 1m}
    max_losses: 3
    infrastructure_retry_for: 2h
    dead_letter: off
    publish_on_failure: true
    executor: process
    network: host
    limits: {cpu: 2, pids: 64, open_files: 256, scratch: 128Mi, log: 64Ki, result: 1Mi, output: 2Gi, output_files: 10}
    file_stage_in: true
    settle: 2s
    ignore: ["*.bak"]
    rescan: 1m
    recursion: {max_depth: 3}
)");
  ASSERT_EQ(functions.size(), 1U);
  const FunctionSpec& f = functions[0];
  EXPECT_EQ(f.name, "thumbs-2");
  EXPECT_TRUE(f.uid.empty());
  EXPECT_EQ(f.revision, 0U);
  EXPECT_EQ(f.image, "docker.io/library/alpine:3");
  EXPECT_EQ(f.script, "#!/bin/sh\nconvert \"$INPUT_FILE_PATH\" \"$TMP_OUTPUT_DIR/x.png\"\n");
  EXPECT_EQ(f.memory_bytes, 512ULL << 20);
  EXPECT_EQ(f.cpu_millicores, 500U);
  ASSERT_EQ(f.inputs.size(), 1U);
  EXPECT_EQ(f.inputs[0].storage.provider, "local");
  EXPECT_EQ(f.inputs[0].storage.path, "pics/in");
  ASSERT_EQ(f.outputs.size(), 1U);
  EXPECT_EQ(f.outputs[0].storage.path, "pics-out");
  EXPECT_EQ(f.outputs[0].prefix, (Texts{"a", "b"}));
  EXPECT_EQ(f.outputs[0].suffix, Texts{".png"});
  EXPECT_EQ(f.environment, (std::map<std::string, std::string>{
                               {"VERSION", "1.10"}, {"ANSWER", "42"}, {"DEBUG", "true"}, {"EMPTY", ""}}));
  EXPECT_EQ(f.timeout, seconds(90));
  EXPECT_EQ(f.grace, milliseconds(500));
  EXPECT_EQ(f.concurrency, 4U);
  EXPECT_EQ(f.weight, 3U);
  EXPECT_EQ(f.retries, 1U);
  EXPECT_EQ(f.retry_base, seconds(2));
  EXPECT_EQ(f.retry_cap, minutes(1));
  EXPECT_EQ(f.max_losses, 3U);
  EXPECT_EQ(f.infrastructure_retry_for, hours(2));
  EXPECT_FALSE(f.dead_letter);
  EXPECT_TRUE(f.publish_on_failure);
  EXPECT_EQ(f.executor, ExecutorKind::process);
  EXPECT_EQ(f.network, NetworkKind::host);
  EXPECT_EQ(f.limits.cpu_millicores, 2000U);
  EXPECT_EQ(f.limits.pids, 64U);
  EXPECT_EQ(f.limits.open_files, 256U);
  EXPECT_EQ(f.limits.scratch_bytes, 128ULL << 20);
  EXPECT_EQ(f.limits.log_bytes, 64ULL << 10);
  EXPECT_EQ(f.limits.result_bytes, 1ULL << 20);
  EXPECT_EQ(f.limits.output_bytes, 2ULL << 30);
  EXPECT_EQ(f.limits.output_files, 10U);
  EXPECT_TRUE(f.memory_explicit && f.limits.pids_explicit);
  EXPECT_FALSE(f.stage_in) << "file_stage_in: true means that the input is not staged in";
  EXPECT_EQ(f.settle, seconds(2));
  EXPECT_EQ(f.ignore, Texts{"*.bak"});
  EXPECT_EQ(f.rescan, minutes(1));
  EXPECT_EQ(f.recursion_depth_max, 3U);
}

TEST(FdlMillrace, LeavesWhatIsNotSaidAtItsDefault) {
  FunctionSpec expected;
  expected.name = "f";
  expected.script = "#!/bin/sh\necho hi\n";
  EXPECT_EQ(to_json(one("")).dump(), to_json(expected).dump());
  EXPECT_EQ(to_json(one("input:\noutput: null\nmemory: null\nenvironment:\n")).dump(), to_json(expected).dump());
}

TEST(FdlMillrace, ReadsSeveralFunctionsAndJson) {
  const auto functions = read(R"({"functions":{"millrace":[{"name":"a","script":"#!/bin/sh"},
    {"name":"b","script":"echo\n","environment":{"N":1}}]}})");
  ASSERT_EQ(functions.size(), 2U);
  EXPECT_EQ(functions[0].script, "#!/bin/sh");
  EXPECT_EQ(functions[1].script, "echo\n");
  EXPECT_EQ(functions[1].environment.at("N"), "1");
}

TEST(FdlMillrace, ReadsShortFormsOfPaths) {
  const auto f = one("input: [pics/in, other/]\noutput: results");
  ASSERT_EQ(f.inputs.size(), 2U);
  EXPECT_EQ(f.inputs[0].storage.path, "pics/in");
  EXPECT_EQ(f.inputs[1].storage.path, "other");
  ASSERT_EQ(f.outputs.size(), 1U);
  EXPECT_EQ(f.outputs[0].storage.path, "results");
}

TEST(FdlMillrace, ReadsTheEnvironmentInOscarsFormToo) {
  const std::map<std::string, std::string> expected{{"A", "1.0"}};
  EXPECT_EQ(one("environment: {A: 1.0}").environment, expected);
  EXPECT_EQ(one("environment: {variables: {A: 1.0}}").environment, expected);
  EXPECT_EQ(one("environment: {Variables: {A: 1.0}}").environment, expected);
  EXPECT_TRUE(one("environment: {variables: }").environment.empty());
  EXPECT_EQ(one("environment: {variables: x}").environment.at("variables"), "x") << "an ordinary variable";
}

TEST(FdlMillrace, SaysThatALimitWasWritten) {
  EXPECT_FALSE(one("cpu: 2").memory_explicit);
  EXPECT_TRUE(one("memory: 1Gi").memory_explicit);
  EXPECT_FALSE(one("memory: 1Gi").limits.pids_explicit);
  EXPECT_TRUE(one("limits: {pids: 10}").limits.pids_explicit);
  EXPECT_FALSE(one("limits: {pids: 10}").memory_explicit);
  EXPECT_FALSE(one("limits: {log: 1Ki}").limits.pids_explicit);
  EXPECT_EQ(one("network: private").network, NetworkKind::outbound);
  EXPECT_EQ(one("limits: {log_policy: backpressure}").limits.log_policy, LogPolicy::backpressure);
  EXPECT_EQ(one("limits: {log_line: 1Ki}").limits.log_line_bytes, 1024U);
  EXPECT_TRUE(one("network: none").network_explicit);
  EXPECT_FALSE(one("memory: 1Gi").network_explicit);
}

TEST(FdlMillrace, AScriptIsAPathOrItsContent) {
  const auto script = [](const std::string& value) {
    const auto functions = read("functions: {millrace: [{name: f, script: " + value + "}]}");
    return functions.empty() ? "" : functions[0].script;
  };
  EXPECT_EQ(script("thumb.sh"), "#!/bin/sh\necho hi\n") << "lines of Windows become ours";
  EXPECT_EQ(script("\"sub/a b.py\""), "print(1)");
  EXPECT_EQ(script("\"#!/bin/cat\""), "#!/bin/cat");
  EXPECT_EQ(script("\"echo a\\r\\necho b\\rc\\r\""), "echo a\necho b\rc\r");
  EXPECT_EQ(script("latin1.sh"), "echo \xe9\n") << "a script may be in any encoding";
  EXPECT_EQ(script("largest.sh").size(), kScriptBytesMax);
}

TEST(FdlMillrace, RefusesScriptsThatCannotBe) {
  const auto script = [](const std::string& value) {
    const auto texts = problems_of("functions:\n millrace:\n - name: f\n   script: " + value + "\n");
    return texts.size() == 1 ? texts[0] : testing::PrintToString(texts);
  };
  constexpr std::string_view kAt = "line 4: functions.millrace[0].script: ";
  EXPECT_EQ(script("missing.sh"), std::string(kAt) + "cannot read the file 'missing.sh': No such file or directory");
  EXPECT_EQ(script("empty.sh"), std::string(kAt) + "the file 'empty.sh' is empty");
  EXPECT_EQ(script("''"), std::string(kAt) + "is empty");
  EXPECT_EQ(script("nul.sh"), std::string(kAt) + "contains a NUL byte; expected a text");
  EXPECT_EQ(script("huge.sh"), std::string(kAt) + "has 1048577 bytes; at most 1048576 are accepted");
  EXPECT_EQ(script("[a]"), std::string(kAt) + "must be a text, is an array");
  EXPECT_EQ(script("{base64: '?'}"), std::string(kAt) + "not valid base64");
  EXPECT_EQ(
      problems_of("functions: {millrace: [{name: f}]}"),
      Texts{"line 1: functions.millrace[0].script: is missing; expected the script itself or the path of a file"});
}

TEST(FdlMillrace, RefusesVariablesThatTheServerSetsItself) {
  for (const auto name : kReservedEnvironment) {
    const std::string text(name);
    const std::string told = "functions.millrace[0].environment: '" + text +
                             "' is set by the server for every run; choose another name (docs/reference/functions.md "
                             "lists those that are taken)";
    EXPECT_EQ(problems_of(fdl("environment: {MINE: 1, " + text + ": mine}")), Texts{"line 5: " + told});
    EXPECT_EQ(problems_of(fdl("environment: {variables: {" + text + ": mine}}")), Texts{"line 5: " + told});
  }
  EXPECT_EQ(problems_of(fdl("environment: {PATH: /mine, HOME: /, TMPDIR: /, LC_CTYPE: C, MILLRACE_URL: x}")), Texts{});
}

TEST(FdlMillrace, ReportsAllProblemsTogether) {
  EXPECT_EQ(problems_of(R"(functions:
  millrace:
  - name: First
    script: thumb.sh
    memroy: 1Gi
  - name: ok
    script: thumb.sh
    memory: [1]
    timeout: 30
    vo: group
  - 7
  - name: ok
    script: thumb.sh
extra: 1
)"),
            (Texts{"line 14: extra: unknown field",
                   std::string("line 3: functions.millrace[0].name: 'First' is not a function's name; ") +
                       "expected 1 to 39 of a-z, 0-9 and -, beginning and ending with a letter or digit",
                   "line 5: functions.millrace[0].memroy: unknown field; did you mean 'memory'?",
                   "line 8: functions.millrace[1].memory: must be a size such as 512Mi, is an array",
                   std::string("line 9: functions.millrace[1].timeout: '30' is not a duration; ") +
                       "expected numbers with ms, s, m, h or d, for example 90s or 1h30m",
                   "line 10: functions.millrace[1].vo: has no meaning in functions.millrace",
                   "line 11: functions.millrace[2]: must be an object, is 7",
                   "line 12: functions.millrace[3].name: 'ok' is the name of an earlier function too"}));
}

TEST(FdlMillrace, HoldsTheRuleOfNames) {
  for (const std::string name : {"a", "0", "a-b", "a--b", "thumbs2"}) EXPECT_TRUE(is_function_name(name)) << name;
  EXPECT_TRUE(is_function_name(std::string(39, 'a')));
  for (const std::string name : {"", "-a", "a-", "A", "a_b", "a.b", "a b", "k\xc3\xbc", "a/b"}) {
    EXPECT_FALSE(is_function_name(name)) << name;
  }
  EXPECT_FALSE(is_function_name(std::string(40, 'a')));
}

TEST(FdlMillrace, HoldsTheRulesOfPaths) {
  for (const std::string path : {"b", "b/c", "0.b-c/d e/f", "b/.hidden", "b/c/.millrace"}) {
    EXPECT_EQ(one("input: [\"" + path + "\"]").inputs.at(0).storage.path, path);
  }
  const std::vector<std::pair<std::string, std::string>> bad{
      {"", "'' is empty"},
      {"/b", "begins with '/'"},
      {"b//c", "has an empty part"},
      {"b/../c", "has a part that is '.' or '..'"},
      {"b/.", "has a part that is '.' or '..'"},
      {"b/.millrace", "lies in .millrace"},
      {"b/.millrace/x", "lies in .millrace"},
      {"b/{other}", "has a brace"},
      {"b/a\\tb", "has a control character"},
      {"B", "does not begin with a bucket"},
      {"-b", "does not begin with a bucket"},
      {".b", "does not begin with a bucket"},
      {"b_c/d", "does not begin with a bucket"},
      {std::string(64, 'b'), "does not begin with a bucket"},
      {"b/" + std::string(256, 'c'), "more than 255 bytes"},
      {"b" + std::string(600, '/') + std::string(600, 'c'), "more than 1024 bytes"},
  };
  for (const auto& [path, text] : bad) {
    EXPECT_THAT(problem("input: [\"" + path + "\"]"), HasSubstr("input[0]: ")) << path;
    EXPECT_THAT(problem("input: [\"" + path + "\"]"), HasSubstr(text)) << path;
    EXPECT_THAT(problem("output: [{path: \"" + path + "\"}]"), HasSubstr("output[0].path: ")) << path;
  }
}

TEST(FdlMillrace, KnowsThePlaceholdersOfAnOutputsFolder) {
  for (const std::string path : {"b/{run}", "b/{event}/{name}", "b/c-{name}-{run}.d"}) {
    EXPECT_EQ(one("output: [\"" + path + "\"]").outputs.at(0).storage.path, path);
    EXPECT_EQ(one("output: [{path: \"" + path + "\"}]").outputs.at(0).storage.path, path);
    EXPECT_THAT(problem("input: [\"" + path + "\"]"), HasSubstr("has a brace")) << path;
  }
  for (const std::string path : {"b/{Run}", "b/{run", "b/run}", "b/{}", "b/{run}}", "b/{{run}}", "{run}/c"}) {
    EXPECT_THAT(problem("output: [\"" + path + "\"]"), HasSubstr("output[0]: ")) << path;
  }
  EXPECT_THAT(problem("output: [\"b/{user}\"]"), HasSubstr("{run}, {event} and {name}"));
}

TEST(FdlMillrace, RefusesWhatStorageCannotDo) {
  EXPECT_EQ(problem("input: [{path: a, storage_provider: minio.other}]"),
            "input[0].storage_provider: 'minio.other' is not supported in this version; expected local");
  EXPECT_EQ(problem("input: [{path: a, suffix: [.png]}]"),
            "input[0].suffix: an input has no filters: every new object below its path starts the function");
  EXPECT_EQ(problem("input: [{}]"), "input[0].path: is missing; a text is required");
  EXPECT_EQ(problem("input: [3]"), "input[0]: must be an object, is 3");
  EXPECT_EQ(problem("input: {path: a}"), "input: must be an array, is an object");
  EXPECT_EQ(problem("input: [a/b, a/b/]"), "input: 'a/b' is there twice");
  EXPECT_EQ(problem("output: [{path: a, prefix: x}]"), "output[0].prefix: must be an array, is 'x'");
  EXPECT_EQ(problem("output: [{path: a, prefix: ['']}]"), "output[0].prefix: an entry has 0 bytes; expected 1 to 255");
  EXPECT_EQ(problem("output: [{path: a, options: x}]"), "output[0].options: unknown field");
  std::string many = "output: [b0";
  for (int i = 1; i <= 64; ++i) many += ", b" + std::to_string(i);
  EXPECT_EQ(problem(many + "]"), "output: has more than 64 items");
}

TEST(FdlMillrace, HoldsTheBoundsOfNumbers) {
  struct Bound {
    std::string field;
    std::string min, max;      // accepted
    std::string below, above;  // not accepted; empty: there is none
  };
  const std::vector<Bound> bounds{
      {"memory", "1Mi", "16Ti", "1048575", "17592186044417"},
      {"cpu", "1m", "1024", "0", "1024.001"},
      {"timeout", "10ms", "30d", "9ms", "2592000001ms"},
      {"grace", "0", "10m", "", "600001ms"},
      {"concurrency", "0", "10000", "-1", "10001"},
      {"weight", "1", "100", "0", "101"},
      {"retries", "0", "100", "-1", "101"},
      {"max_losses", "1", "1000", "0", "1001"},
      {"infrastructure_retry_for", "0", "30d", "", "31d"},
      {"settle", "0", "1h", "", "61m"},
      {"rescan", "100ms", "24h", "99ms", "25h"},
      {"limits.cpu", "10m", "1024", "9m", "1025"},
      {"limits.pids", "1", "4194304", "0", "4194305"},
      {"limits.open_files", "16", "1048576", "15", "1048577"},
      {"limits.scratch", "64Ki", "1Ti", "65535", "1025Gi"},
      {"limits.log", "0", "64Ki", "", "65537"},
      {"limits.result", "0", "64Mi", "", "65Mi"},
      {"limits.output", "0", "1Pi", "", "1025Ti"},
      {"limits.output_files", "0", "10000000", "-1", "10000001"},
      {"retry.base", "1ms", "15m", "0", "25h"},
      {"retry.cap", "1s", "7d", "", "169h"},
      {"recursion.max_depth", "1", "1000", "0", "1001"},
  };
  for (const auto& [field, min, max, below, above] : bounds) {
    const auto dot = field.find('.');
    const auto with = [&name = field, dot](const std::string& value) {
      if (dot == std::string::npos) return name + ": " + value;
      return name.substr(0, dot) + ": {" + name.substr(dot + 1) + ": " + value + "}";
    };
    EXPECT_EQ(problems_of(fdl(with(min))), Texts{}) << with(min);
    EXPECT_EQ(problems_of(fdl(with(max))), Texts{}) << with(max);
    for (const auto& value : {below, above}) {
      if (value.empty()) continue;
      EXPECT_THAT(problem(with(value)), testing::StartsWith(field + ": ")) << with(value);
    }
  }
}

TEST(FdlMillrace, RefusesWrongValues) {
  EXPECT_EQ(problem("executor: docker"), "executor: 'docker' is not one of container, process, oci");
  EXPECT_EQ(problem("network: 1"), "network: 1 is not one of none, private, host");
  EXPECT_EQ(problem("image: ''"),
            "image: is not the name of an image; expected host, rootfs:/path, or a reference such as "
            "docker.io/library/alpine:3");
  EXPECT_THAT(problem("image: a b"), HasSubstr("is not the name of an image"));
  EXPECT_EQ(problem("dead_letter: maybe"), "dead_letter: must be true or false, is 'maybe'");
  EXPECT_EQ(problem("retry: {base: 10s, cap: 9s}"), "retry.cap: '9s' is below the base, 10s");
  EXPECT_EQ(problem("retry: 3"), "retry: must be an object, is 3");
  EXPECT_EQ(problem("retry: {bose: 1s}"), "retry.bose: unknown field; did you mean 'base'?");
  EXPECT_EQ(problem("limits: {pid: 3}"), "limits.pid: unknown field; did you mean 'pids'?");
  EXPECT_EQ(problem("recursion: {}"), "recursion.max_depth: is missing");
  EXPECT_EQ(problem("recursion: 3"), "recursion: must be an object, is 3");
  EXPECT_EQ(problem("ignore: [3]"), "ignore[0]: must be a text, is 3");
  EXPECT_EQ(problem("order: fifo"), "order: 'fifo' is not one of none, key");
  EXPECT_EQ(problem("protocol: http"), "protocol: is not supported yet in this version");
  EXPECT_EQ(problem("environment: [A]"), "environment: must be a map of names to texts, is an array");
  EXPECT_EQ(problem("environment: {A: [1]}"), "environment.A: must be a text, is an array");
  EXPECT_EQ(problem("environment: {A=B: c}"), "environment: 'A=B' cannot be the name of a variable");
  EXPECT_EQ(problem("environment: {'': c}"), "environment: '' cannot be the name of a variable");
  EXPECT_EQ(problem("environment: {A: \"x\\0y\"}"), "environment: the value of 'A' contains a NUL byte");
  EXPECT_EQ(problem("environment: {A: " + std::string(70'000, 'x') + "}"), "environment: has more than 65536 bytes");
  std::string many = "environment: {A0: ''";
  for (int i = 1; i <= 512; ++i) many += ", A" + std::to_string(i) + ": ''";
  EXPECT_EQ(problem(many + "}"), "environment: has more than 512 variables");
}

TEST(Fdl, KnowsTheDialects) {
  EXPECT_EQ(problems_of("functions:\n  oscar:\n  - cluster: {name: a}\n"),
            Texts{"line 2: functions.oscar: OSCAR's format is not supported yet in this version; expected "
                  "functions.millrace"});
  EXPECT_EQ(problems_of("functions:\n  aws:\n  - lambda: {name: a}\n"),
            Texts{"line 2: functions.aws: SCAR's format is not supported yet in this version; expected "
                  "functions.millrace"});
  EXPECT_EQ(problems_of("functions:\n  darknet:\n    image: x\n    s3: {input_bucket: b}\n"),
            Texts{"line 2: functions.darknet: SCAR's format is not supported yet in this version; expected "
                  "functions.millrace"});
  EXPECT_EQ(problems_of("functions:\n  milrace: []\n"),
            Texts{"line 2: functions.milrace: is no format we know; expected functions.millrace"});
}

TEST(Fdl, SaysWhatTheFileLacks) {
  EXPECT_EQ(problems_of(""), Texts{"must be an object, is null"});
  EXPECT_EQ(problems_of("[1]"), Texts{"line 1: must be an object, is an array"});
  EXPECT_EQ(problems_of("{}"), Texts{"line 1: functions: is missing; expected functions: {millrace: [...]}"});
  EXPECT_EQ(problems_of("functions: 3"), Texts{"line 1: functions: must be an object, is 3"});
  EXPECT_EQ(problems_of("functions: {}"), Texts{"line 1: functions.millrace: is missing"});
  EXPECT_EQ(problems_of("functions: {millrace: {name: a}}"),
            Texts{"line 1: functions.millrace: must be a list of functions, is an object"});
  EXPECT_EQ(problems_of("functions: {millrace: []}"), Texts{"line 1: functions.millrace: has no functions"});
  EXPECT_EQ(problems_of("functions: [").size(), 1U);
}

TEST(Fdl, BoundsTheNumberOfFunctions) {
  std::string text = "functions: {millrace: [";
  for (std::size_t i = 0; i <= kFdlFunctionsMax; ++i) text += "{name: f" + std::to_string(i) + ", script: '#!x'},";
  EXPECT_EQ(problems_of(text + "]}"),
            Texts{"line 1: functions.millrace: has 1001 functions; at most 1000 are accepted in one file"});
}

TEST(Fdl, SurvivesAnyChangedByte) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::string good =
      fdl("memory: 1Gi\ninput: [a/b]\noutput: [{path: c, prefix: [x]}]\nenvironment: {A: 1}\nretry: {base: 1s}");
  const std::string_view alphabet = "\n :-[]{}&*!|>'\"%#?,\t<~a19\xc3";
  for (int i = 0; i < 2000; ++i) {
    std::string text = good;
    for (std::uint64_t n = random() % 3 + 1; n > 0; --n)
      text[random() % text.size()] = alphabet[random() % alphabet.size()];
    Diagnostics problems;
    const auto functions = read_fdl(text, read_file, problems);
    if (!problems.empty()) continue;
    for (auto f : functions) {  // what is accepted can be stored and read again
      f.uid = FunctionUid("u");
      ASSERT_TRUE(function_from_json(to_full_json(f))) << text;
    }
  }
}

}  // namespace
}  // namespace millrace
