#include <algorithm>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tests/contract/storage/store_fixture.h"

namespace millrace::test {
namespace {

std::vector<std::string> keys_of(const Result<Listing>& listing) {
  std::vector<std::string> keys;
  if (listing) {
    for (const auto& object : listing->objects) keys.push_back(object.key);
  }
  return keys;
}

TEST_P(ObjectListingContract, SortsBytewiseOverTheWholeKey) {
  // '-' and '.' sort before the '/' of a folder, '0' after it: a walk by names alone gets these wrong.
  std::vector<std::string> keys = {"a/b", "a-b", "a.b", "a0b", "a/b-c", "a/b/c-", "a/b0", "Z", "\xc3\xa9", "a"};
  keys.erase(std::remove(keys.begin(), keys.end(), "a"), keys.end());  // a folder here
  keys.erase(std::remove(keys.begin(), keys.end(), "a/b"), keys.end());
  for (const auto& key : keys) ASSERT_TRUE(put(key, "x")) << key;
  std::ranges::sort(keys);
  EXPECT_EQ(keys_of(wait(objects().list("box", "", "", 100))), keys);
}

TEST_P(ObjectListingContract, PagesThroughEverythingOnce) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto pick = [&](unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random); };
  const std::string letters = "a-./0z";
  std::set<std::string> keys;
  while (keys.size() < 60) {
    std::string key;
    for (unsigned parts = 1 + pick(6); parts > 0; --parts) {
      std::string part;
      for (unsigned n = 1 + pick(2); n > 0; --n) part += letters[pick(6)];
      std::erase(part, '/');
      if (part.empty() || part == "." || part == "..") part = "q";
      key += (key.empty() ? "" : "/") + part;
    }
    if (put(key, "x")) keys.insert(key);  // fails where a part is a file already
  }
  for (const std::size_t limit : {1U, 2U, 7U, 59U, 60U, 61U}) {
    std::vector<std::string> all;
    std::string after;
    for (bool more = true; more;) {
      const auto page = wait(objects().list("box", "", after, limit));
      ASSERT_TRUE(page) << page.error().message;
      ASSERT_LE(page->objects.size(), limit);
      more = page->truncated;
      if (more) ASSERT_EQ(page->objects.size(), limit);
      for (const auto& key : keys_of(page)) all.push_back(key);
      if (!all.empty()) after = all.back();
    }
    EXPECT_EQ(all, std::vector<std::string>(keys.begin(), keys.end())) << "limit " << limit;
  }
  for (const std::string prefix : {"a", "a/", "a-", "z/a", "", "q/q/"}) {
    std::vector<std::string> expected;
    std::ranges::copy_if(keys, std::back_inserter(expected), [&](const auto& key) { return key.starts_with(prefix); });
    EXPECT_EQ(keys_of(wait(objects().list("box", prefix, "", 100))), expected) << "prefix " << prefix;
  }
}

TEST_P(ObjectListingContract, SaysWhetherMoreFollow) {
  for (const auto* key : {"a", "b/c", "d"}) ASSERT_TRUE(put(key, "x"));
  EXPECT_FALSE(wait(objects().list("box", "", "", 3))->truncated);
  EXPECT_TRUE(wait(objects().list("box", "", "", 2))->truncated);
  EXPECT_FALSE(wait(objects().list("box", "", "a", 2))->truncated);
  EXPECT_FALSE(wait(objects().list("box", "", "d", 1))->truncated);
}

TEST_P(ObjectListingContract, StartsAfterAKeyThatNeedNotExist) {
  for (const auto* key : {"a/1", "a/2", "b"}) ASSERT_TRUE(put(key, "x"));
  EXPECT_EQ(keys_of(wait(objects().list("box", "", "a/15", 10))), (std::vector<std::string>{"a/2", "b"}));
  EXPECT_EQ(keys_of(wait(objects().list("box", "a/", "a/1", 10))), (std::vector<std::string>{"a/2"}));
  EXPECT_EQ(keys_of(wait(objects().list("box", "a/", "b", 10))), std::vector<std::string>{});
  EXPECT_EQ(keys_of(wait(objects().list("box", "", "a", 10))).size(), 3U);
}

TEST_P(ObjectListingContract, FindsNothingUnderPrefixesThatAreNoKeys) {
  ASSERT_TRUE(put("a/b", "x"));
  for (const auto* prefix : {"../", "/", "a//", "a/../a/", ".millrace/", "./a", "nothing/here/", "a/b/"}) {
    const auto listed = wait(objects().list("box", prefix, "", 10));
    ASSERT_TRUE(listed) << prefix << ": " << listed.error().message;
    EXPECT_TRUE(listed->objects.empty()) << prefix;
  }
}

TEST_P(ObjectListingContract, HidesWhatIsOurs) {
  const auto directory = wait(outputs().make_attempt(attempt()));
  ASSERT_TRUE(directory);
  write_file(directory->fd.get(), "private", "x");
  ASSERT_TRUE(put("visible", "x"));
  EXPECT_EQ(keys_of(wait(objects().list("box", "", "", 10))), (std::vector<std::string>{"visible"}));
  EXPECT_EQ(keys_of(wait(objects().list("box", ".m", "", 10))), std::vector<std::string>{});
}

TEST_P(ObjectListingContract, RefusesALimitOutOfRange) {
  EXPECT_EQ(wait(objects().list("box", "", "", 0)).error().code, Errc::invalid_argument);
  EXPECT_EQ(wait(objects().list("box", "", "", 10'001)).error().code, Errc::invalid_argument);
  EXPECT_TRUE(wait(objects().list("box", "", "", 10'000)));
  EXPECT_EQ(wait(objects().list("nowhere", "", "", 1)).error().code, Errc::not_found);
}

}  // namespace
}  // namespace millrace::test
