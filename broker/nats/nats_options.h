// How to reach the servers of a NATS broker and what to ask of them.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"

namespace millrace {

struct NatsBrokerOptions {
  std::string url;  // nats://host:port[,host:port...]; tls:// wants TLS
  std::string user{};
  std::string password_file{};  // each file: its content without the end of the line
  std::string token_file{};
  std::string credentials_file{};  // of `nsc`: a JWT and its key
  std::string ca_file{};           // trust these instead of the system's; wants TLS
  std::string certificate_file{};  // our own, with its key
  std::string key_file{};
  std::string node = "millrace";  // how the servers list this client

  std::string prefix = "millrace";  // of all streams and subjects: two installations may share servers
  std::uint32_t replicas = 1;       // of each stream: 1, 3 or 5
  // The durability of a server cannot be seen by its clients. Its monitoring page tells, when its URL is given;
  // without, `synced` is a promise of whoever writes the configuration.
  std::string monitor_url{};
  bool synced = false;

  std::uint64_t topic_bytes_max = 1ULL << 40;  // of each topic; from 1 TiB on the server's own limits hold
  std::uint64_t topic_messages_max = 10'000'000;
  std::uint64_t dead_bytes_max = 1ULL << 30;     // of all dead letters
  std::uint64_t flight_bytes_max = 16ULL << 20;  // published and not confirmed; beyond that publishes wait
  std::size_t send_bytes_max = 64U << 20;        // given to the sending thread; beyond that sends fail
  std::size_t receive_bytes_max = 256U << 20;    // heard and not yet handled; see Link::on_dropped

  std::chrono::milliseconds connect_for{60'000};       // how long a server that does not answer is waited for
  std::chrono::milliseconds request_timeout{5'000};    // for one answer
  std::chrono::milliseconds publish_timeout{10'000};   // for a confirmation, reconnects included
  std::chrono::milliseconds verdict_timeout{600'000};  // an ack is tried for so long
  std::chrono::milliseconds reconnect_wait{250};       // and up to twice that by chance, between tries
  std::chrono::milliseconds ping_interval{2'000};      // a link that answers none of two is broken
};

// Refuses what is no URL of NATS servers; never repeats a password.
[[nodiscard]] Result<void> check_nats_url(const std::string& url);
// The URL of each server of the list.
[[nodiscard]] std::vector<std::string> nats_servers(const std::string& url);
// The URL without user and password, for logs and messages.
[[nodiscard]] std::string shown_nats_url(const std::string& url);

}  // namespace millrace
