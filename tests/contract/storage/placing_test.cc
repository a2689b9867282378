#include <random>
#include <string>
#include <vector>

#include "async/sleep.h"
#include "async/task_group.h"
#include "tests/contract/storage/store_fixture.h"

namespace millrace::test {
namespace {

TEST_P(PlacingContract, MakesAResultAppear) {
  const auto file = sealed_file(attempt(), rank('A'), "out.txt", "hello");
  EXPECT_EQ(content_of("results/out.txt"), "<not_found>");
  const auto placed = wait(outputs().place(output(file, "results/2024/out.txt"), rank('A'), false));
  ASSERT_TRUE(placed) << placed.error().message;
  EXPECT_EQ(*placed, Placed::appeared);
  EXPECT_EQ(content_of("results/2024/out.txt"), "hello");
  EXPECT_EQ(wait(objects().stat("box", "results/2024/out.txt"))->version, file.placed);
}

TEST_P(PlacingContract, IsIdempotent) {
  const auto file = sealed_file(attempt(), rank('A'), "a", "hello");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(*wait(outputs().place(output(file, "a"), rank('A'), false)), Placed::appeared);
  }
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(*wait(outputs().place(output(file, "a"), rank('A'), true)), Placed::appeared) << "its copy is gone then";
  }
  EXPECT_EQ(content_of("a"), "hello");
  EXPECT_EQ(wait(objects().list("box", "", "", 10))->objects.size(), 1U);
}

// A crash between the placing and its mark repeats the placing.
TEST_P(PlacingContract, LeavesANameToItsUserOnceItsCopyIsGone) {
  const auto file = sealed_file(attempt(), rank('A'), "deep/a", "hello");
  ASSERT_TRUE(wait(outputs().place(output(file, "first"), rank('A'), false)));
  ASSERT_TRUE(wait(outputs().place(output(file, "second"), rank('A'), true)));
  ASSERT_TRUE(wait(objects().remove("box", "first")));
  ASSERT_TRUE(put("second", "the user's"));
  EXPECT_EQ(*wait(outputs().place(output(file, "first"), rank('A'), false)), Placed::superseded);
  EXPECT_EQ(*wait(outputs().place(output(file, "second"), rank('A'), true)), Placed::superseded);
  EXPECT_EQ(content_of("first"), "<not_found>");
  EXPECT_EQ(content_of("second"), "the user's");
  EXPECT_EQ(content_of(private_copy(file)), "hello");
}

TEST_P(PlacingContract, PlacesOneFileUnderSeveralNames) {
  const auto file = sealed_file(attempt(), rank('A'), "a", "hello");
  ASSERT_TRUE(wait(objects().ensure_bucket("other")));
  EXPECT_EQ(*wait(outputs().place(output(file, "one"), rank('A'), false)), Placed::appeared);
  EXPECT_EQ(*wait(outputs().place(output(file, "two"), rank('A'), false)), Placed::appeared);
  EXPECT_EQ(*wait(outputs().place(output(file, "three", "other"), rank('A'), false)), Placed::appeared);
  EXPECT_EQ(content_of("two"), "hello");
  EXPECT_EQ(content_of("three", "other"), "hello");
}

TEST_P(PlacingContract, ReplacesAUsersFile) {
  ASSERT_TRUE(put("a", "the user's"));
  const auto file = sealed_file(attempt(), rank('A'), "a", "ours");
  EXPECT_EQ(*wait(outputs().place(output(file, "a"), rank('A'), false)), Placed::replaced);
  EXPECT_EQ(content_of("a"), "ours");
}

TEST_P(PlacingContract, LeavesTheLaterRunsFile) {
  const auto early = sealed_file(attempt(kRunA), rank('A', kRunA), "a", "early");
  const auto late = sealed_file(attempt(kRunB), rank('B', kRunB), "a", "late");
  EXPECT_EQ(*wait(outputs().place(output(late, "a"), rank('B', kRunB), false)), Placed::appeared);
  EXPECT_EQ(*wait(outputs().place(output(early, "a"), rank('A', kRunA), false)), Placed::superseded);
  EXPECT_EQ(content_of("a"), "late");
}

TEST_P(PlacingContract, ReplacesTheEarlierRunsFile) {
  const auto early = sealed_file(attempt(kRunA), rank('A', kRunA), "a", "early");
  const auto late = sealed_file(attempt(kRunB), rank('B', kRunB), "a", "late");
  EXPECT_EQ(*wait(outputs().place(output(early, "a"), rank('A', kRunA), false)), Placed::appeared);
  EXPECT_EQ(*wait(outputs().place(output(late, "a"), rank('B', kRunB), false)), Placed::replaced);
  EXPECT_EQ(content_of("a"), "late");
  EXPECT_EQ(*wait(outputs().place(output(early, "a"), rank('A', kRunA), false)), Placed::superseded);
  EXPECT_EQ(content_of("a"), "late");
}

TEST_P(PlacingContract, RanksByOrderThenGenerationThenEvent) {
  OutputRank low = rank('A', kRunA, 1);
  const auto wins = [&](OutputRank other) {
    const std::string key = "k" + std::to_string(other.generation) + other.order.str() + other.event_id.str();
    const auto first = sealed_file(attempt(kRunA, '1'), low, "a", "low");
    const auto second = sealed_file(attempt(kRunB, '2'), other, "a", "other");
    EXPECT_TRUE(wait(outputs().place(output(first, key), low, false)));
    EXPECT_TRUE(wait(outputs().place(output(second, key), other, false)));
    EXPECT_TRUE(wait(outputs().remove_attempt(attempt(kRunA, '1'))));
    EXPECT_TRUE(wait(outputs().remove_attempt(attempt(kRunB, '2'))));
    return content_of(key) == "other";
  };
  EXPECT_TRUE(wins(rank('B', kRunB, 0)));
  EXPECT_TRUE(wins(rank('A', kRunB, 10))) << "a generation is a number";
  EXPECT_FALSE(wins(rank('A', kRunB, 0)));
  OutputRank event = rank('A', kRunB, 1);
  event.event_id = EventId(std::string(32, 'd'));
  EXPECT_FALSE(wins(event));
  event.event_id = EventId(std::string(32, 'f'));
  EXPECT_TRUE(wins(event));
}

TEST_P(PlacingContract, RefusesANameThatIsAFolderOrLeadsThroughAFile) {
  ASSERT_TRUE(put("folder/x", "x"));
  ASSERT_TRUE(put("file", "x"));
  const auto sealed = sealed_file(attempt(), rank('A'), "a", "hello");
  const auto over_folder = wait(outputs().place(output(sealed, "folder"), rank('A'), false));
  ASSERT_FALSE(over_folder);
  EXPECT_EQ(over_folder.error().code, Errc::failed_precondition);
  EXPECT_NE(over_folder.error().message.find("'folder'"), std::string::npos) << over_folder.error().message;
  const auto through_file = wait(outputs().place(output(sealed, "file/a/b"), rank('A'), false));
  ASSERT_FALSE(through_file);
  EXPECT_EQ(through_file.error().code, Errc::failed_precondition);
  EXPECT_NE(through_file.error().message.find("'file/a/b'"), std::string::npos) << through_file.error().message;
  EXPECT_EQ(wait(outputs().place(output(sealed, "../a"), rank('A'), false)).error().code, Errc::invalid_argument);
  EXPECT_EQ(wait(outputs().place(output(sealed, "a", "nowhere"), rank('A'), false)).error().code, Errc::not_found);
  EXPECT_EQ(*wait(outputs().place(output(sealed, "folder/a"), rank('A'), false)), Placed::appeared)
      << "still placeable";
  EXPECT_EQ(content_of("folder/x"), "x");
}

TEST_P(PlacingContract, SaysThatAResultIsGone) {
  const auto file = sealed_file(attempt(), rank('A'), "a", "hello");
  ASSERT_TRUE(wait(outputs().remove_attempt(attempt())));
  EXPECT_EQ(wait(outputs().place(output(file, "a"), rank('A'), false)).error().code, Errc::data_loss);

  const auto other = sealed_file(attempt(), rank('A'), "a", "another");
  OutputFile forged = output(other, "a");
  forged.placed.inode += 1;
  EXPECT_EQ(wait(outputs().place(forged, rank('A'), false)).error().code, Errc::data_loss);
  forged.source_path = "box/../../etc/passwd";
  EXPECT_EQ(wait(outputs().place(forged, rank('A'), false)).error().code, Errc::invalid_argument);
  EXPECT_EQ(content_of("a"), "<not_found>");
}

// One placer among many: places the same file a few times, with pauses.
Task<void> place_repeatedly(EventLoop& loop, OutputStore& outputs, OutputFile file, OutputRank rank, unsigned seed,
                            int& failures) {
  std::mt19937 random(seed);
  for (unsigned times = 1 + random() % 3; times > 0; --times) {
    for (unsigned pause = random() % 4; pause > 0; --pause) co_await yield(loop);
    const auto placed = co_await outputs.place(file, rank, false);
    if (!placed) ++failures;
  }
}

Task<bool> join(TaskGroup& group) {
  co_await group.join();
  co_return true;
}

TEST_P(PlacingContract, LetsTheLatestStandAmongRacingPlacers) {
  constexpr std::size_t kPlacers = 6;
  constexpr int kRounds = 40;
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  std::vector<SealedFile> files;
  std::vector<OutputRank> ranks;
  for (std::size_t i = 0; i < kPlacers; ++i) {
    const std::string run = std::string(31, 'c') + std::to_string(i);
    ranks.push_back(rank(static_cast<char>('A' + i), run));
    files.push_back(sealed_file(attempt(run), ranks.back(), "f", std::to_string(i)));
  }
  for (int round = 0; round < kRounds; ++round) {
    const std::string key = "race/" + std::to_string(round);
    int failures = 0;
    TaskGroup group(loop_);
    for (std::size_t i = 0; i < kPlacers; ++i) {
      group.spawn(place_repeatedly(loop_, outputs(), output(files[i], key), ranks[i], static_cast<unsigned>(random()),
                                   failures));
    }
    ASSERT_TRUE(wait(join(group)));
    EXPECT_EQ(failures, 0);
    EXPECT_EQ(content_of(key), std::to_string(kPlacers - 1)) << "round " << round;
  }
}

}  // namespace
}  // namespace millrace::test
