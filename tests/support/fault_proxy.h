// Stands between a client and a server on loopback and does to their connections what networks do: delays, cuts, goes
// silent in one direction or both, is slow, refuses. It has a thread of its own; everything may be called from any.
//
//   FaultProxy proxy(server.port());
//   client.connect(proxy.port());
//   proxy.silence(FaultProxy::Way::both);    // open connections stay open, and nothing comes through
//   proxy.heal();
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "core/fd.h"

namespace millrace::test {

class FaultProxy {
 public:
  enum class Way : std::uint8_t { to_server, to_client, both };

  explicit FaultProxy(int server_port);
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;
  ~FaultProxy();

  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] std::uint64_t accepted() const { return accepted_; }  // connections, so far

  void heal();  // none of what follows any more; what was held back goes on
  void silence(Way way);
  void delay(std::chrono::milliseconds span) { delay_ms_ = span.count(); }            // each way
  void limit(std::size_t bytes_per_second) { bytes_per_second_ = bytes_per_second; }  // each way; 0: none
  void refuse(bool all) { refusing_ = all; }  // new connections are reset at once
  void cut() { ++cuts_; }                     // resets what is open now

 private:
  struct Pipe;
  struct Connection;

  void run();
  void accept_one();
  bool move(Pipe& pipe, bool silent);  // false: the connection is over

  int server_port_;
  Fd listener_;
  int port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> silent_to_server_ = false;
  std::atomic<bool> silent_to_client_ = false;
  std::atomic<std::int64_t> delay_ms_ = 0;
  std::atomic<std::size_t> bytes_per_second_ = 0;
  std::atomic<bool> refusing_ = false;
  std::atomic<std::uint64_t> cuts_ = 0;
  std::atomic<std::uint64_t> accepted_ = 0;
  std::list<std::unique_ptr<Connection>> connections_;  // the thread's
  std::thread thread_;
};

}  // namespace millrace::test
