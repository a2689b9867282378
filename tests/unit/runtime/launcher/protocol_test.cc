#include "runtime/launcher/protocol.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace millrace::launcher {
namespace {

Usage some_usage() {
  return {.cpu_us = 1,
          .memory_peak_bytes = 2,
          .rss_peak_bytes = 3,
          .io_read_bytes = 4,
          .io_write_bytes = 5,
          .throttled_us = 6,
          .start_us = 7,
          .wall_us = 0xffff'ffff'ffff'ffff};
}

Hello some_hello() {
  Hello hello{.privileged = true, .runtimes = {"runc", "crun"}, .no_runtimes = "none"};
  hello.controls[0] = {.support = Support::real, .reason = ""};
  hello.controls[8] = {.support = Support::emulated, .reason = "because"};
  return hello;
}

Spawn some_spawn() {
  return {.run = 77,
          .template_id = 3,
          .limits = {.memory_bytes = 1ULL << 40,
                     .cpu_weight_millicores = 250,
                     .cpu_quota_millicores = 500,
                     .pids = 64,
                     .open_files = 1024,
                     .file_bytes = 1 << 20,
                     .scratch_bytes = 1 << 26,
                     .scratch_inodes = 4096},
          .hostname = "resize-1",
          .working_directory = "/tmp",
          .program = std::string("\1\0\0\0\0\0\0\0sh\0", 11),
          .output = true,
          .inputs = {{.name = "a.jpg"}, {.name = "..b", .mode = InputMode::copy}}};
}

std::vector<Request> every_request() {
  return {Prepare{.template_id = 9, .kind = Kind::container, .network = Network::host, .script = true},
          Prepare{.template_id = 9, .kind = Kind::process, .probe_directory = true},
          Prepare{.template_id = 11, .kind = Kind::oci, .runtime = "runc"},
          Prepare{.template_id = 10, .profile = Profile::compat, .image = Image::directory_copy, .provided = true},
          Drop{.template_id = 0xffff'ffff},
          some_spawn(),
          Spawn{},
          Kill{.run = 5, .signal = KillSignal::term},
          CheckQuiet{.request = 6},
          Sample{.run = 7},
          MakeSpare{.spare = 8, .limits = some_spawn().limits},
          EndSpare{.spare = 9}};
}

std::vector<Answer> every_answer() {
  return {some_hello(),
          Prepared{.template_id = 4, .files = FileAccess::daemon_uid},
          PrepareFailed{.template_id = 4, .step = Step::script, .error = -1, .text = "could not"},
          Started{.run = 1, .exec_us = 2},
          SpawnFailed{.run = 2, .step = kLastStep, .error = 2, .text = "why"},
          Exited{.run = 3, .how = Ending::signal, .value = 9, .out_of_memory = true, .usage = some_usage()},
          Quiet{.request = 8, .state = Quietness::open_for_writing},
          Sampled{.run = 9, .known = true, .usage = some_usage()},
          SpareGone{.spare = 10}};
}

TEST(LauncherProtocol, EveryRequestSurvivesTheWay) {
  for (const Request& request : every_request()) {
    const auto bytes = encode(request);
    ASSERT_TRUE(bytes) << bytes.error().message;
    const auto decoded = decode_request(*bytes);
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(*decoded, request);
  }
}

TEST(LauncherProtocol, EveryAnswerSurvivesTheWay) {
  for (const Answer& answer : every_answer()) {
    const auto bytes = encode(answer);
    ASSERT_TRUE(bytes) << bytes.error().message;
    const auto decoded = decode_answer(*bytes);
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_EQ(*decoded, answer);
  }
}

TEST(LauncherProtocol, RefusesEveryTruncationAndEverySurplusByte) {
  for (const Request& request : every_request()) {
    const std::string bytes = *encode(request);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_FALSE(decode_request(bytes.substr(0, length))) << request.index() << " at " << length;
    }
    EXPECT_FALSE(decode_request(bytes + '\0'));
  }
  for (const Answer& answer : every_answer()) {
    const std::string bytes = *encode(answer);
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_FALSE(decode_answer(bytes.substr(0, length))) << answer.index() << " at " << length;
    }
    EXPECT_FALSE(decode_answer(bytes + '\0'));
  }
}

TEST(LauncherProtocol, RefusesUnknownTypesAndOversizedDatagrams) {
  for (int type = 0; type < 256; ++type) {
    const std::string bytes(1, static_cast<char>(type));
    EXPECT_FALSE(decode_request(bytes));
    EXPECT_FALSE(decode_answer(bytes));
  }
  EXPECT_FALSE(decode_request(std::string(kDatagramBytesMax + 1, '\0')));
}

TEST(LauncherProtocol, RefusesUnknownEnumeratorsAndBooleans) {
  // Type, template id, kind, network, script, probe_directory, profile, image, provided, the runtime's name.
  const std::string good("\0\1\0\0\0\1\1\1\1\1\2\1\0\0", 14);
  ASSERT_TRUE(decode_request(good));
  for (const std::size_t field : {5U, 6U, 7U, 8U, 9U, 10U, 11U}) {
    std::string bad = good;
    bad[field] = 3;
    EXPECT_FALSE(decode_request(bad)) << field;
  }
}

TEST(LauncherProtocol, WhatDecodesEncodesToTheSameBytes) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  for (int round = 0; round < 20'000; ++round) {
    auto requests = every_request();
    std::string bytes = *encode(requests[random() % requests.size()]);
    for (int changes = static_cast<int>(random() % 4); changes >= 0; --changes) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (const auto decoded = decode_request(bytes)) {
      EXPECT_EQ(encode(*decoded).value_or(""), bytes);
    }
    auto answers = every_answer();
    bytes = *encode(answers[random() % answers.size()]);
    bytes[random() % bytes.size()] = static_cast<char>(random());
    if (const auto decoded = decode_answer(bytes)) {
      EXPECT_EQ(encode(*decoded).value_or(""), bytes);
    }
  }
}

TEST(LauncherProtocol, BoundsEveryFieldOfASpawn) {
  const auto refused = [](auto change) {
    Spawn spawn = some_spawn();
    change(spawn);
    return !encode(Request(spawn)).has_value();
  };
  EXPECT_FALSE(refused([](Spawn& s) { s.hostname.assign(kHostnameBytesMax, 'h'); }));
  EXPECT_TRUE(refused([](Spawn& s) { s.hostname.assign(kHostnameBytesMax + 1, 'h'); }));
  EXPECT_TRUE(refused([](Spawn& s) { s.hostname = std::string("a\0b", 3); }));
  EXPECT_FALSE(refused([](Spawn& s) { s.working_directory = "/" + std::string(kPathBytesMax - 1, 'd'); }));
  EXPECT_TRUE(refused([](Spawn& s) { s.working_directory = "/" + std::string(kPathBytesMax, 'd'); }));
  EXPECT_TRUE(refused([](Spawn& s) { s.working_directory = "relative"; }));
  EXPECT_TRUE(refused([](Spawn& s) { s.working_directory = std::string("/a\0b", 4); }));
  EXPECT_FALSE(refused([](Spawn& s) { s.program.assign(kProgramInlineBytesMax, 'p'); }));
  EXPECT_TRUE(refused([](Spawn& s) { s.program.assign(kProgramInlineBytesMax + 1, 'p'); }));
  EXPECT_FALSE(refused([](Spawn& s) { s.inputs.assign(kInputsMax, {.name = "n"}); }));
  EXPECT_TRUE(refused([](Spawn& s) { s.inputs.assign(kInputsMax + 1, {.name = "n"}); }));
  EXPECT_FALSE(refused([](Spawn& s) { s.inputs[0].name.assign(kNameBytesMax, 'n'); }));
  for (const std::string& name : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                                  std::string("/"), std::string("a\0b", 3), std::string(kNameBytesMax + 1, 'n')}) {
    EXPECT_TRUE(refused([&name](Spawn& s) { s.inputs[0].name = name; })) << name;
  }
}

TEST(LauncherProtocol, RefusesABadNameThatAPeerEncodedAnyway) {
  Spawn spawn = some_spawn();
  spawn.inputs = {{.name = "aaa"}};
  std::string bytes = *encode(Request(spawn));
  const auto at = bytes.find("aaa");
  for (const char* name : {"../", "a/a", "..\0"}) {
    bytes.replace(at, 3, std::string(name, 3));
    EXPECT_FALSE(decode_request(bytes));
  }
}

TEST(LauncherProtocol, CountsTheDescriptorsOfARequest) {
  EXPECT_EQ(descriptors_of(Prepare{}), 0U);
  EXPECT_EQ(descriptors_of(Prepare{.script = true, .probe_directory = true}), 2U);
  EXPECT_EQ(descriptors_of(Spawn{.program = "p"}), 3U);
  EXPECT_EQ(descriptors_of(Spawn{}), 4U);
  EXPECT_EQ(descriptors_of(some_spawn()), 6U);
  EXPECT_EQ(descriptors_of(CheckQuiet{}), 1U);
  EXPECT_EQ(descriptors_of(Kill{}), 0U);
  EXPECT_EQ(descriptors_of(Drop{}), 0U);
  EXPECT_EQ(descriptors_of(Sample{}), 0U);
  Spawn most;
  most.output = true;
  most.inputs.resize(kInputsMax);
  EXPECT_EQ(descriptors_of(most), kDescriptorsMax);
}

TEST(LauncherProtocol, NamesEveryStep) {
  for (std::size_t step = 0; step < kSteps; ++step) EXPECT_FALSE(name_of(static_cast<Step>(step)).empty());
  EXPECT_EQ(name_of(Step::exec), "exec");
  EXPECT_EQ(name_of(Step::script), "script");
  EXPECT_EQ(name_of(static_cast<Step>(kSteps)), "unknown");
}

// ---- programs

std::vector<std::string> strings_of(const std::vector<const char*>& pointers) {
  EXPECT_FALSE(pointers.empty());
  EXPECT_EQ(pointers.back(), nullptr);
  return {pointers.begin(), pointers.end() - 1};
}

TEST(LauncherProgram, SurvivesTheWay) {
  const std::vector<std::string> argv{"sh", "-c", "", "echo ä"};
  const std::vector<std::string> environment{"PATH=/bin", "EMPTY="};
  const auto packed = pack_program(argv, environment);
  ASSERT_TRUE(packed);
  const auto program = unpack_program(*packed);
  ASSERT_TRUE(program);
  EXPECT_EQ(strings_of(program->argv), argv);
  EXPECT_EQ(strings_of(program->environment), environment);
}

TEST(LauncherProgram, RefusesWhatExecveCannotTake) {
  EXPECT_EQ(pack_program({}, {}).error().code, Errc::invalid_argument);
  EXPECT_EQ(pack_program({""}, {}).error().code, Errc::invalid_argument);
  EXPECT_EQ(pack_program({std::string("a\0b", 3)}, {}).error().code, Errc::invalid_argument);
  EXPECT_EQ(pack_program({"a"}, {std::string("A=\0", 3)}).error().code, Errc::invalid_argument);
  EXPECT_TRUE(pack_program({"a"}, std::vector<std::string>(kProgramStringsMax - 1)));
  EXPECT_EQ(pack_program({"a"}, std::vector<std::string>(kProgramStringsMax)).error().code, Errc::invalid_argument);
}

TEST(LauncherProgram, IsBounded) {
  // Two counts, "a" and two NULs lie beside the long string.
  const std::size_t room = kProgramBytesMax - 8 - 2 - 1;
  const auto largest = pack_program({"a", std::string(room, 'x')}, {});
  ASSERT_TRUE(largest);
  EXPECT_EQ(largest->size(), kProgramBytesMax);
  EXPECT_TRUE(unpack_program(*largest));
  EXPECT_EQ(pack_program({"a", std::string(room + 1, 'x')}, {}).error().code, Errc::too_large);
}

TEST(LauncherProgram, RefusesEveryTruncationAndWrongCounts) {
  const std::string packed = *pack_program({"sh", "x"}, {"A=1"});
  for (std::size_t length = 0; length < packed.size(); ++length) {
    EXPECT_FALSE(unpack_program(std::string_view(packed).substr(0, length))) << length;
  }
  EXPECT_FALSE(unpack_program(packed + 'x'));
  EXPECT_FALSE(unpack_program(packed + '\0'));
  for (const int count : {0, 1, 3, 255}) {
    std::string wrong = packed;
    wrong[0] = static_cast<char>(count);
    EXPECT_FALSE(unpack_program(wrong)) << count;
  }
  std::string huge = packed;
  huge[3] = huge[7] = '\x7f';
  EXPECT_FALSE(unpack_program(huge));
  const std::string empty_command("\1\0\0\0\0\0\0\0\0", 9);
  EXPECT_FALSE(unpack_program(empty_command));
}

}  // namespace
}  // namespace millrace::launcher
