#include <random>

#include "async/sim_event_loop.h"
#include "broker/memory/memory_broker.h"
#include "telemetry/metrics.h"
#include "tests/contract/broker/broker_contract.h"

namespace millrace::contract {
namespace {

class MemoryBench final : public BrokerBench {
 public:
  EventLoop& loop() override { return loop_; }
  Broker& broker() override { return *broker_; }
  bool run_until(const std::function<bool()>& done) override {
    loop_.run_for({});  // nothing waits for anything but time
    return done();
  }
  void advance(std::chrono::milliseconds span) override { loop_.run_for(span); }
  void restart() override { crash(); }
  void crash() override { broker_ = make_memory_broker({}, loop_, metrics_); }

 private:
  SimEventLoop loop_{std::random_device{}()};
  Metrics metrics_;
  std::unique_ptr<Broker> broker_ = make_memory_broker({}, loop_, metrics_);
};

INSTANTIATE_TEST_SUITE_P(Memory, BrokerContract,
                         testing::Values(Backend{"memory", [] { return std::make_unique<MemoryBench>(); }}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace millrace::contract
