// The rights that the guide names are those that everything needs.
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "tests/faults/broker_nats/nats_rig.h"
#include "tests/support/temp_dir.h"

namespace millrace::test {
namespace {

// The block of the guide that begins with "# users.conf".
std::string users_of_the_guide(const std::string& password) {
  std::ifstream file(MILLRACE_NATS_GUIDE);
  std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto begin = text.find("# users.conf\n");
  EXPECT_NE(begin, std::string::npos);
  if (begin == std::string::npos) return {};
  text = text.substr(begin, text.find("```", begin) - begin);
  const std::string variable = "$MILLRACE_NATS_PASSWORD";
  EXPECT_NE(text.find(variable), std::string::npos);
  return text.replace(text.find(variable), variable.size(), password);
}

struct Watcher final : TopicWatcher {
  int shown = 0;

  void seen(const Event&, std::string_view, std::chrono::system_clock::time_point) override { ++shown; }
  void missed(std::uint64_t) override {}
  void topic_removed() override {}
};

TEST(NatsPermissions, ThoseOfTheGuideSufficeForEverything) {
  NatsServer server;
  const TempDir directory;
  server.kill();
  server.configure(users_of_the_guide("secret"));
  server.start();
  NatsRig rig;
  auto options = NatsRig::options(server.url());
  options.user = "millrace";
  options.password_file = directory / "password";
  std::ofstream(options.password_file) << "secret\n";
  const auto broker = rig.open(options);
  ASSERT_EQ(outcome(rig.await(broker->ensure({.name = "t", .groups = {}}))), "ok");
  rig.make_topic(*broker);
  rig.make_topic(*broker, seconds(20));  // changed
  EXPECT_EQ(outcome(rig.await(broker->topics())), "ok");
  EXPECT_EQ(outcome(rig.await(broker->describe("t"))), "ok");

  auto important = NatsRig::message("b", "important", "key");
  important.priority = Priority::high;
  auto late = NatsRig::message("c", "late");
  late.delay = milliseconds(50);
  for (auto& each : {NatsRig::message("a", "plain"), important, late, NatsRig::message("d", "kept", "key")}) {
    const auto receipt = rig.publish(*broker, each);
    EXPECT_EQ(outcome(receipt), "ok") << (receipt ? "" : receipt.error().message);
  }
  const auto subscription = rig.subscribe(*broker);
  std::set<std::string> acked;
  bool failed = false;
  bool died = false;
  while (acked.size() < 4) {
    const auto delivery = rig.next(*subscription);
    ASSERT_EQ(outcome(rig.await(delivery->begin())), "ok");
    ASSERT_EQ(outcome(rig.await(delivery->extend())), "ok");
    const std::string data = delivery->event().data;
    if (!std::exchange(failed, true)) {
      ASSERT_EQ(outcome(rig.await(delivery->nak(milliseconds(10), NakReason::failed))), "ok");
    } else if (data == "plain" && !std::exchange(died, true)) {
      ASSERT_EQ(outcome(rig.await(delivery->term("poison", {}))), "ok");
      EXPECT_EQ(outcome(rig.await(broker->dead_letters("t", "g", "", 10))), "ok");
      EXPECT_EQ(rig.await(broker->redrive("t", "g", {})).value_or(0), 1U);
    } else {
      ASSERT_EQ(outcome(rig.await(delivery->ack())), "ok");
      acked.insert(data);
    }
  }
  EXPECT_EQ(outcome(rig.await(broker->lag("t", "g"))), "ok");
  EXPECT_EQ(outcome(rig.await(broker->purge("t", "g"))), "ok");
  EXPECT_EQ(outcome(rig.await(broker->remove_group("t", "g"))), "ok");
  Watcher watcher;
  auto watch = rig.await(broker->watch("t", watcher));
  ASSERT_EQ(outcome(watch), "ok");
  EXPECT_EQ(outcome(rig.publish(*broker, NatsRig::message("e", "shown"))), "ok");
  rig.until([&] { return watcher.shown == 1; });
  watch->reset();
  EXPECT_EQ(outcome(rig.await(broker->remove_topic("t"))), "ok");
  rig.await(broker->close());
  EXPECT_EQ(server.log().find("Permissions Violation"), std::string::npos) << server.log();
}

}  // namespace
}  // namespace millrace::test
