#include "cli/table.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace millrace::cli {
namespace {

TEST(Table, ColumnsAreAsWideAsTheirWidestCell) {
  Table table({{"NAME"}, {"RUNS", Align::right}});
  table.add({"a", "1"});
  table.add({"longer-name", "12345"});
  EXPECT_EQ(table.to_text(),
            "NAME          RUNS\n"
            "a                1\n"
            "longer-name  12345\n");
}

TEST(Table, CharactersCountNotBytes) {
  Table table({{"A"}, {"B"}});
  table.add({"grün", "x"});
  table.add({"four", "x"});
  EXPECT_EQ(table.to_text(), "A     B\ngrün  x\nfour  x\n");
}

TEST(Table, LinesHaveNoBlanksAtTheirEnd) {
  Table table({{"A"}, {"B"}, {"C"}});
  table.add({"wide cell", "x", ""});
  table.add({"a"});
  EXPECT_EQ(table.to_text(), "A          B  C\nwide cell  x\na\n");
}

TEST(Table, ControlCharactersCannotSteerTheTerminal) {
  Table table({{"A"}});
  table.add({"a\033[2Jb\nc\td\x7f\xc2\x9b"});
  EXPECT_EQ(table.to_text(), "A\na?[2Jb?c?d??\n");
}

TEST(Table, ColoursDoNotChangeTheWidths) {
  Table table({{"A"}, {"B"}});
  table.add({{"ok", Tone::good}, "x"});
  table.add({"longer", "y"});
  EXPECT_EQ(table.to_text(true),
            "\033[2mA\033[0m       \033[2mB\033[0m\n"
            "\033[32mok\033[0m      x\n"
            "longer  y\n");
}

TEST(Table, SuperfluousCellsAreDropped) {
  Table table({{"A"}});
  table.add({"a", "b"});
  EXPECT_EQ(table.to_text(), "A\na\n");
}

TEST(Table, IsEmptyWithoutRows) {
  Table table({{"A"}});
  EXPECT_TRUE(table.empty());
  table.add({"a"});
  EXPECT_FALSE(table.empty());
}

TEST(ToneOf, EveryFailureIsBadAndOnlySuccessGood) {
  EXPECT_EQ(tone_of("succeeded"), Tone::good);
  for (const auto* outcome : {"failed", "dead_lettered", "timed_out", "out_of_memory", "output_too_large", "lost"}) {
    EXPECT_EQ(tone_of(outcome), Tone::bad) << outcome;
  }
  EXPECT_EQ(tone_of("skipped"), Tone::weak);
  EXPECT_EQ(tone_of("running"), Tone::plain);
}

TEST(HumanBytes, ThreeDigitsAtMost) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(1023), "1023 B");
  EXPECT_EQ(human_bytes(1024), "1.0 KiB");
  EXPECT_EQ(human_bytes(1536), "1.5 KiB");
  EXPECT_EQ(human_bytes(10 << 10), "10 KiB");
  EXPECT_EQ(human_bytes((1 << 20) - 1), "1.0 MiB");
  EXPECT_EQ(human_bytes(640ULL << 20), "640 MiB");
  EXPECT_EQ(human_bytes(std::numeric_limits<std::uint64_t>::max()), "16384 PiB");
}

TEST(HumanDuration, GrowsItsUnit) {
  EXPECT_EQ(human_duration_us(0), "0 us");
  EXPECT_EQ(human_duration_us(999), "999 us");
  EXPECT_EQ(human_duration_us(1'000), "1.0 ms");
  EXPECT_EQ(human_duration_us(12'345), "12.3 ms");
  EXPECT_EQ(human_duration_us(999'960), "1.00 s");
  EXPECT_EQ(human_duration_us(1'250'000), "1.25 s");
  EXPECT_EQ(human_duration_us(119'990'000), "119.99 s");
  EXPECT_EQ(human_duration_us(200'000'000), "3m 20s");
}

}  // namespace
}  // namespace millrace::cli
