#include <cstdlib>
#include <filesystem>

#include "broker/log/log_broker.h"
#include "telemetry/log.h"
#include "telemetry/metrics.h"
#include "tests/contract/broker/broker_contract.h"
#include "tests/support/manual_loop.h"

namespace millrace::contract {
namespace {

class LogBench final : public BrokerBench {
 public:
  LogBench() {
    std::string name = (std::filesystem::temp_directory_path() / "millrace-log-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    directory_ = name;
    open();
  }
  ~LogBench() override {
    broker_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  EventLoop& loop() override { return loop_; }
  Broker& broker() override { return *broker_; }
  bool run_until(const std::function<bool()>& done) override { return loop_.run_until(done); }
  void advance(std::chrono::milliseconds span) override { loop_.advance(span); }
  void restart() override {
    TaskGroup group(loop_);
    bool closed = false;
    group.spawn(close(closed));
    must_come(loop_.run_until([&] { return closed; }), "closing the log does not come back");
    crash();
  }
  void crash() override {
    broker_.reset();
    open();
  }

 private:
  Task<void> close(bool& closed) {
    co_await broker_->close();
    closed = true;
  }
  Task<void> open_broker() {
    LogBrokerOptions options;
    options.directory = directory_ / "log";
    options.ack_linger = std::chrono::milliseconds(0);  // time stands still while a case waits
    options.segment_bytes = 4 << 20;                    // small, so that every case is quick to start
    auto opened = co_await open_log_broker(options, loop_, metrics_, log_);
    if (!opened) ADD_FAILURE() << opened.error().message;
    if (!opened) std::abort();
    broker_ = std::move(*opened);
  }
  void open() {
    TaskGroup group(loop_);
    group.spawn(open_broker());
    must_come(loop_.run_until([&] { return broker_ != nullptr; }), "opening the log does not come back");
  }
  // Where it does not, its coroutine holds what is about to go.
  static void must_come(bool came, const char* message) {
    if (came) return;
    ADD_FAILURE() << message;
    std::abort();
  }

  std::filesystem::path directory_;
  ManualLoop loop_;
  Metrics metrics_;
  Log log_{{.level = LogLevel::error}};
  std::unique_ptr<Broker> broker_;
};

INSTANTIATE_TEST_SUITE_P(Log, BrokerContract,
                         testing::Values(Backend{"log", [] { return std::make_unique<LogBench>(); }}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace millrace::contract
