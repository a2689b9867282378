#include "formats/identity.h"

#include <gtest/gtest.h>

#include "formats/sha256.h"

namespace millrace {
namespace {

// Stored rows and dedupe keys hold these: a change here would make every known event new.
TEST(Identity, IsFixedForEver) {
  EXPECT_EQ(identity_hash({}), "e3b0c44298fc1c149afbf4c8996fb924");
  EXPECT_EQ(identity_hash({""}), "af5570f5a1810b7af78caf4bc70a660f");
  EXPECT_EQ(identity_hash({"a", "b"}), "cf6ab613e3942391f88ed698557e1680");
}

TEST(Identity, ListsOfFieldsDoNotCollide) {
  EXPECT_NE(identity_hash({"ab", "c"}), identity_hash({"a", "bc"}));
  EXPECT_NE(identity_hash({"a", ""}), identity_hash({"a"}));
  EXPECT_NE(identity_hash({"", "a"}), identity_hash({"a", ""}));
}

TEST(Identity, DependsOnEveryPart) {
  const ObjectRef object{.store = "local",
                         .bucket = "b",
                         .key = "k",
                         .version = {.size_bytes = 1, .mtime_ns = 2, .inode = 3},
                         .private_path = ""};
  const auto changed = [&object](auto change) {
    ObjectRef other = object;
    change(other);
    return object_source_id(other) != object_source_id(object);
  };
  EXPECT_TRUE(changed([](ObjectRef& o) { o.store = "s3"; }));
  EXPECT_TRUE(changed([](ObjectRef& o) { o.bucket = "c"; }));
  EXPECT_TRUE(changed([](ObjectRef& o) { o.key = "l"; }));
  EXPECT_TRUE(changed([](ObjectRef& o) { o.version.size_bytes = 9; }));
  EXPECT_TRUE(changed([](ObjectRef& o) { o.version.mtime_ns = 9; }));
  EXPECT_FALSE(changed([](ObjectRef& o) { o.version.inode = 9; })) << "a file that is moved back is the same file";
  EXPECT_FALSE(changed([](ObjectRef& o) { o.private_path = "p"; }));

  const FunctionUid uid("u");
  const EventId event("e");
  EXPECT_NE(make_run_id(uid, event, 0), make_run_id(uid, event, 1));
  EXPECT_NE(make_run_id(uid, event, 0), make_run_id(FunctionUid("v"), event, 0));
  EXPECT_NE(make_run_id(uid, event, 0), make_run_id(uid, EventId("f"), 0));
  EXPECT_EQ(make_run_id(uid, event, 0).str(), identity_hash({"u", "e", "0"}));
  EXPECT_EQ(event_id("s", "1").str(), identity_hash({"s", "1"}));
  EXPECT_EQ(work_message_id(RunId("r"), 2), identity_hash({"r", "2"}));
  EXPECT_EQ(output_source_id(RunId("r"), 7), identity_hash({"r", "7"}));
}

TEST(Identity, BelievesAnOrderThatItsClockMayHaveShown) {
  const auto published = std::chrono::system_clock::time_point(std::chrono::seconds(1'700'000'000));
  Event event;
  event.id = EventId("e");
  const auto said = [&](std::chrono::hours ahead) {
    event.order = foreign_order(published + ahead, EventId("other"));
    return order_of(event, published) == event.order;
  };
  for (const int hours : {-1000, -1, 0, 1, 23}) EXPECT_TRUE(said(std::chrono::hours(hours))) << hours;
  for (const int hours : {25, 1000, 1'000'000}) {
    EXPECT_FALSE(said(std::chrono::hours(hours))) << hours;
    EXPECT_EQ(order_of(event, published), foreign_order(published, event.id));
  }
  for (const char* text : {"", "zzzz", "7ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01ARZ3NDEKTSV4RRFFQ69G5FAVX"}) {
    event.order = Order(text);
    EXPECT_EQ(order_of(event, published), foreign_order(published, event.id)) << text;
  }
}

TEST(Sha256, KnowsTheTestVectors) {
  EXPECT_EQ(Sha256().finish_hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 parts;
  parts.update("a");
  parts.update("");
  parts.update("bc");
  EXPECT_EQ(parts.finish_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, MovesWithItsState) {
  Sha256 first;
  first.update("ab");
  Sha256 second(std::move(first));
  second.update("c");
  EXPECT_EQ(second.finish_hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace millrace
