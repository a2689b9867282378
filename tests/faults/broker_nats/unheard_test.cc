// What others do to a topic while this process is cut off, on a server that is slow to tell it afterwards.
#include "tests/faults/broker_nats/diverted.h"
#include "tests/faults/broker_nats/nats_rig.h"
#include "tests/support/fault_proxy.h"

namespace millrace::test {
namespace {

class NatsUnheard : public testing::Test {
 protected:
  NatsUnheard() {
    auto options = NatsRig::options("nats://127.0.0.1:" + std::to_string(proxy_.port()));
    options.request_timeout = seconds(60);  // none runs out
    ours_ = rig_.open(options);
    others_ = rig_.open(NatsRig::options(server_.url()));
    rig_.make_topic(*ours_);
    subscription_ = rig_.subscribe(*ours_);
  }

  void cut_off() {
    proxy_.refuse(true);
    const auto before = proxy_.accepted();
    proxy_.cut();
    rig_.until([&] { return proxy_.accepted() > before; });
  }
  void come_back() {
    const auto before = reconnects_.value();
    proxy_.heal();
    rig_.until([&] { return reconnects_.value() > before; });
  }
  // The first message with a priority, which gives the groups their consumers for it.
  void publish_urgently() {
    auto urgent = NatsRig::message("urgent", "urgent");
    urgent.priority = Priority::high;
    ASSERT_EQ(outcome(rig_.publish(*others_, std::move(urgent))), "ok");
  }

  NatsServer server_;
  FaultProxy proxy_{server_.port()};
  NatsRig rig_;
  Diverted requests_{server_};
  std::unique_ptr<Broker> ours_;
  std::unique_ptr<Broker> others_;
  std::unique_ptr<Subscription> subscription_;
  const Counter& reconnects_ = rig_.metrics.counter("millrace_nats_reconnects_total", "");
};

TEST_F(NatsUnheard, PrioritiesThatAreGivenWhileWeAreCutOffAgainAreFoundOut) {
  ASSERT_EQ(outcome(rig_.await(ours_->ensure({.name = "z", .groups = {"g"}}))), "ok");
  requests_.divert("$JS.API.STREAM.INFO.millrace-t-z");
  cut_off();
  come_back();
  rig_.until([&] { return requests_.count() == 1; });  // "t", the one before it, was looked at
  cut_off();
  publish_urgently();
  come_back();
  rig_.until([&] { return requests_.count() == 2; });
  requests_.end();
  requests_.refuse();
  EXPECT_EQ(rig_.next(*subscription_)->event().data, "urgent");
}

TEST_F(NatsUnheard, PrioritiesAreFoundOutAlthoughTheServerDoesNotTellAtOnce) {
  cut_off();
  publish_urgently();
  requests_.divert("$JS.API.STREAM.INFO.millrace-t-t");
  come_back();
  rig_.until([&] { return requests_.refuse() > 3; });  // so many times a request is made again
  requests_.end();
  requests_.refuse();
  EXPECT_EQ(rig_.next(*subscription_)->event().data, "urgent");
}

}  // namespace
}  // namespace millrace::test
