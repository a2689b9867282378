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
  const auto placed = place(output(file, "results/2024/out.txt"), rank('A'));
  ASSERT_TRUE(placed) << placed.error().message;
  EXPECT_EQ(*placed, Placed::appeared);
  EXPECT_EQ(content_of("results/2024/out.txt"), "hello");
  EXPECT_EQ(wait(objects().stat("box", "results/2024/out.txt"))->version, file.placed);
}

TEST_P(PlacingContract, IsIdempotent) {
  const auto file = sealed_file(attempt(), rank('A'), "a", "hello");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(*place(output(file, "a"), rank('A')), Placed::appeared) << i;
  EXPECT_EQ(content_of("a"), "hello");
  EXPECT_EQ(wait(objects().list("box", "", "", 10))->objects.size(), 1U);
}

// A crash between the placing and its mark repeats the placing.
TEST_P(PlacingContract, LeavesANameToItsUserOnceItsCopyIsGone) {
  const auto file = sealed_file(attempt(), rank('A'), "deep/a", "hello");
  ASSERT_TRUE(wait(outputs().place({output(file, "first"), output(file, "second")}, rank('A'))));
  ASSERT_TRUE(wait(objects().remove("box", "first")));
  ASSERT_TRUE(put("second", "the user's"));
  EXPECT_EQ(*place(output(file, "first"), rank('A')), Placed::superseded);
  EXPECT_EQ(*place(output(file, "second"), rank('A')), Placed::superseded);
  EXPECT_EQ(content_of("first"), "<not_found>");
  EXPECT_EQ(content_of("second"), "the user's");
  EXPECT_EQ(content_of(private_copy(file)), "hello");
}

TEST_P(PlacingContract, PlacesOneFileUnderSeveralNames) {
  const auto file = sealed_file(attempt(), rank('A'), "a", "hello");
  ASSERT_TRUE(wait(objects().ensure_bucket("other")));
  const auto placed =
      wait(outputs().place({output(file, "one"), output(file, "two"), output(file, "three", "other")}, rank('A')));
  ASSERT_TRUE(placed) << placed.error().message;
  EXPECT_EQ(*placed, std::vector(3, Placed::appeared));
  EXPECT_EQ(content_of("two"), "hello");
  EXPECT_EQ(content_of("three", "other"), "hello");
}

// The names that stand wait for the others: until then the copy is needed.
TEST_P(PlacingContract, PlacesWhatItCanAndTheRestLater) {
  const auto file = sealed_file(attempt(), rank('A'), "a", "hello");
  ASSERT_TRUE(put("taken", "the user's"));
  const std::vector files{output(file, "one"), output(file, "taken/by a file"), output(file, "three")};
  const auto placed = wait(outputs().place(files, rank('A')));
  ASSERT_FALSE(placed);
  EXPECT_EQ(placed.error().code, Errc::failed_precondition);
  EXPECT_EQ(content_of("one"), "hello");
  EXPECT_EQ(content_of("three"), "hello");
  ASSERT_TRUE(wait(objects().remove("box", "taken")));
  const auto again = wait(outputs().place(files, rank('A')));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(content_of("taken/by a file"), "hello");
}

TEST_P(PlacingContract, ReplacesAUsersFile) {
  ASSERT_TRUE(put("a", "the user's"));
  const auto file = sealed_file(attempt(), rank('A'), "a", "ours");
  EXPECT_EQ(*place(output(file, "a"), rank('A')), Placed::replaced);
  EXPECT_EQ(content_of("a"), "ours");
}

TEST_P(PlacingContract, LeavesTheLaterRunsFile) {
  const auto early = sealed_file(attempt(kRunA), rank('A', kRunA), "a", "early");
  const auto late = sealed_file(attempt(kRunB), rank('B', kRunB), "a", "late");
  EXPECT_EQ(*place(output(late, "a"), rank('B', kRunB)), Placed::appeared);
  EXPECT_EQ(*place(output(early, "a"), rank('A', kRunA)), Placed::superseded);
  EXPECT_EQ(content_of("a"), "late");
}

TEST_P(PlacingContract, ReplacesTheEarlierRunsFile) {
  const auto early = sealed_file(attempt(kRunA), rank('A', kRunA), "a", "early");
  const auto late = sealed_file(attempt(kRunB), rank('B', kRunB), "a", "late");
  EXPECT_EQ(*place(output(early, "a"), rank('A', kRunA)), Placed::appeared);
  EXPECT_EQ(*place(output(late, "a"), rank('B', kRunB)), Placed::replaced);
  EXPECT_EQ(content_of("a"), "late");
  EXPECT_EQ(*place(output(early, "a"), rank('A', kRunA)), Placed::superseded);
  EXPECT_EQ(content_of("a"), "late");
}

TEST_P(PlacingContract, RanksByOrderThenGenerationThenEvent) {
  OutputRank low = rank('A', kRunA, 1);
  const auto wins = [&](OutputRank other) {
    const std::string key = "k" + std::to_string(other.generation) + other.order.str() + other.event_id.str();
    const auto first = sealed_file(attempt(kRunA, '1'), low, "a", "low");
    const auto second = sealed_file(attempt(kRunB, '2'), other, "a", "other");
    EXPECT_TRUE(place(output(first, key), low));
    EXPECT_TRUE(place(output(second, key), other));
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
  const auto over_folder = place(output(sealed, "folder"), rank('A'));
  ASSERT_FALSE(over_folder);
  EXPECT_EQ(over_folder.error().code, Errc::failed_precondition);
  EXPECT_NE(over_folder.error().message.find("'folder'"), std::string::npos) << over_folder.error().message;
  const auto through_file = place(output(sealed, "file/a/b"), rank('A'));
  ASSERT_FALSE(through_file);
  EXPECT_EQ(through_file.error().code, Errc::failed_precondition);
  EXPECT_NE(through_file.error().message.find("'file/a/b'"), std::string::npos) << through_file.error().message;
  EXPECT_EQ(place(output(sealed, "../a"), rank('A')).error().code, Errc::invalid_argument);
  EXPECT_EQ(place(output(sealed, "a", "nowhere"), rank('A')).error().code, Errc::not_found);
  EXPECT_EQ(*place(output(sealed, "folder/a"), rank('A')), Placed::appeared) << "still placeable";
  EXPECT_EQ(content_of("folder/x"), "x");
}

TEST_P(PlacingContract, SaysThatAResultIsGone) {
  const auto file = sealed_file(attempt(), rank('A'), "a", "hello");
  ASSERT_TRUE(wait(outputs().remove_attempt(attempt())));
  EXPECT_EQ(place(output(file, "a"), rank('A')).error().code, Errc::data_loss);

  const auto other = sealed_file(attempt(), rank('A'), "a", "another");
  OutputFile forged = output(other, "a");
  forged.placed.inode += 1;
  EXPECT_EQ(place(forged, rank('A')).error().code, Errc::data_loss);
  forged.source_path = "box/../../etc/passwd";
  EXPECT_EQ(place(forged, rank('A')).error().code, Errc::invalid_argument);
  EXPECT_EQ(content_of("a"), "<not_found>");
}

// One placer among many: places the same file a few times, with pauses.
Task<void> place_repeatedly(EventLoop& loop, OutputStore& outputs, OutputFile file, OutputRank rank, unsigned seed,
                            int& failures) {
  std::mt19937 random(seed);
  for (unsigned times = 1 + random() % 3; times > 0; --times) {
    for (unsigned pause = random() % 4; pause > 0; --pause) co_await yield(loop);
    const auto placed = co_await outputs.place({file}, rank);
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
  for (int round = 0; round < kRounds; ++round) {
    const std::string key = "race/" + std::to_string(round);
    std::vector<SealedFile> files;
    std::vector<OutputRank> ranks;
    for (std::size_t i = 0; i < kPlacers; ++i) {
      const std::string run = std::string(29, 'c') + std::to_string(i) + std::to_string(10 + round);
      ranks.push_back(rank(static_cast<char>('A' + i), run));
      files.push_back(sealed_file(attempt(run), ranks.back(), "f", std::to_string(i)));
    }
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
