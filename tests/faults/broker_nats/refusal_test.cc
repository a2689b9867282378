// What a NATS server may refuse, or have otherwise than we need it: a typed error that says where and what to do.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstdlib>
#include <fstream>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "tests/faults/broker_nats/nats_rig.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/temp_dir.h"

namespace millrace::test {
namespace {

std::string write(const TempDir& directory, const std::string& name, const std::string& text) {
  std::ofstream(directory / name) << text;
  return directory / name;
}

void expect_refusal(NatsRig& rig, NatsBrokerOptions options, const std::string& code, const std::string& part) {
  const auto opened = rig.try_open(std::move(options));
  EXPECT_EQ(outcome(opened), code);
  if (!opened) EXPECT_NE(opened.error().message.find(part), std::string::npos) << opened.error().message;
}

TEST(NatsRefusals, ServerThatIsNotThere) {
  NatsRig rig;
  expect_refusal(rig, NatsRig::options("nats://127.0.0.1:1"), "unavailable", "nats://127.0.0.1:1");
  expect_refusal(rig, NatsRig::options("nats://no-such-host.invalid:4222"), "unavailable", "no-such-host.invalid");
}

TEST(NatsRefusals, UserAndPasswordOrTokenMustBeRight) {
  NatsServer server;
  const TempDir directory;
  NatsRig rig;
  const auto right = write(directory, "right", "secret\n");
  const auto wrong = write(directory, "wrong", "other\n");
  server.kill();
  server.configure("authorization { user: me, password: secret }\n");
  server.start();
  auto options = NatsRig::options(server.url());
  expect_refusal(rig, options, "permission_denied", server.url());
  options.user = "me";
  options.password_file = wrong;
  expect_refusal(rig, options, "permission_denied", server.url());
  options.password_file = right;
  EXPECT_EQ(outcome(rig.try_open(options)), "ok");

  server.kill();
  server.configure("authorization { token: secret }\n");
  server.start();
  options = NatsRig::options(server.url());
  options.token_file = wrong;
  expect_refusal(rig, options, "permission_denied", server.url());
  options.token_file = right;
  EXPECT_EQ(outcome(rig.try_open(options)), "ok");
}

// Says that it is an old one, and takes part so far that a client takes it for connected.
class OldServer {
 public:
  OldServer() : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    // NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast): the socket interface wants it
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_.get(), 8), 0);
    EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    // NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)
    url_ = "nats://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::jthread([this] { run(); });
  }
  OldServer(const OldServer&) = delete;
  OldServer& operator=(const OldServer&) = delete;
  ~OldServer() { ::shutdown(listener_.get(), SHUT_RDWR); }

  [[nodiscard]] const std::string& url() const { return url_; }

 private:
  void run() const {
    std::vector<std::jthread> clients;
    for (;;) {
      Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) return;
      clients.emplace_back([socket = std::move(client)] { serve(socket.get()); });
    }
  }
  static void say(int socket, std::string_view text) {
    [[maybe_unused]] const auto sent = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
  }
  static void serve(int socket) {
    say(socket, "INFO {\"version\":\"2.9.10\",\"proto\":1,\"headers\":true,\"max_payload\":1048576} \r\n");
    std::array<char, 4096> heard{};
    for (ssize_t n = 0; (n = ::recv(socket, heard.data(), heard.size(), 0)) > 0;) {
      const std::string_view text(heard.data(), static_cast<std::size_t>(n));
      if (text.find("PING\r\n") != std::string_view::npos) say(socket, "PONG\r\n");
    }
  }

  Fd listener_;
  std::string url_;
  std::jthread thread_;
};

TEST(NatsRefusals, ServerThatIsTooOld) {
  const OldServer server;
  NatsRig rig;
  expect_refusal(rig, NatsRig::options(server.url()), "failed_precondition",
                 server.url() + " is version 2.9.10: install 2.10 or newer");
}

TEST(NatsRefusals, ReplicasThatAServerAloneCannotKeepAreNotSaidToBeThere) {
  NatsServer server;
  NatsRig rig;
  auto options = NatsRig::options(server.url());
  options.replicas = 3;
  for (const bool made : {false, true}) {  // neither before nor after a start with one
    if (made) EXPECT_EQ(outcome(rig.try_open(NatsRig::options(server.url()))), "ok");
    const auto found = rig.await(describe_nats_broker(options, rig.loop, rig.log));
    ASSERT_EQ(outcome(found), "failed_precondition") << found.value_or("");
    EXPECT_NE(found.error().message.find("nats_replicas is 3, but the NATS server at " + server.url()),
              std::string::npos)
        << found.error().message;
  }
  EXPECT_EQ(outcome(rig.try_open(options)), "failed_precondition") << "nor does it start";
  const auto alone = rig.await(describe_nats_broker(NatsRig::options(server.url()), rig.loop, rig.log));
  EXPECT_EQ(alone.value_or("").substr(0, 7), "synced:");
}

// A certificate authority and a certificate of the server's for `name`, by the command line of OpenSSL.
bool make_certificates(const TempDir& directory, const std::string& name) {
  const std::string script =
      "cd '" + directory.path() +
      "' && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=ca "
      "-keyout ca.key -out ca.pem && openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
      "-subj /CN=server -keyout server.key -out server.csr && printf 'subjectAltName=" +
      name +
      "' > ext && openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext "
      "-out server.pem";
  return std::system(("( " + script + " ) >/dev/null 2>&1").c_str()) == 0;  // NOLINT(cert-env33-c): a test's own words
}

TEST(NatsRefusals, TlsNeedsAnAuthorityThatWeTrustAndTheRightName) {
  NatsServer server;
  NatsRig rig;
  const auto tls = [](const TempDir& directory) {
    return "tls { cert_file: \"" + (directory / "server.pem") + "\", key_file: \"" + (directory / "server.key") +
           "\" }\n";
  };
  const TempDir good;
  const TempDir other;
  ASSERT_TRUE(make_certificates(good, "IP:127.0.0.1"));
  ASSERT_TRUE(make_certificates(other, "DNS:elsewhere.example"));
  server.kill();
  server.configure(tls(good));
  server.start();
  auto options = NatsRig::options("tls://127.0.0.1:" + std::to_string(server.port()));
  options.ca_file = good / "ca.pem";
  EXPECT_EQ(outcome(rig.try_open(options)), "ok");
  options.ca_file = other / "ca.pem";
  expect_refusal(rig, options, "invalid_argument", "certificate");
  expect_refusal(rig, NatsRig::options(server.url()), "invalid_argument", server.url());  // without TLS
  server.kill();
  server.configure(tls(other));
  server.start();
  expect_refusal(rig, options, "invalid_argument", "127.0.0.1");  // it is trusted, and somebody else
}

TEST(NatsRefusals, CredentialsRevokedWhileWeRunAreToldAndTriedAgainWithPatience) {
  NatsServer server;
  const TempDir directory;
  NatsRig rig;
  const std::string with_me = "authorization { users: [ {user: me, password: secret}, {user: you, password: x} ] }\n";
  server.kill();
  server.configure(with_me);
  server.start();
  FaultProxy proxy(server.port());
  auto options = NatsRig::options("nats://127.0.0.1:" + std::to_string(proxy.port()));
  options.user = "me";
  options.password_file = write(directory, "password", "secret");
  options.publish_timeout = milliseconds(1500);
  const auto broker = rig.open(options);
  rig.make_topic(*broker);
  ASSERT_EQ(outcome(rig.publish(*broker, NatsRig::message("a", "before"))), "ok");

  server.configure("authorization { users: [ {user: you, password: x} ] }\n");
  server.reload();
  const auto before = proxy.accepted();
  Result<Receipt> refused = Receipt{};
  rig.until([&] {
    static int number = 0;
    refused = rig.publish(*broker, NatsRig::message("lost " + std::to_string(++number), "x"));
    return !refused;
  });
  EXPECT_EQ(outcome(refused), "unavailable");
  rig.until([&] {
    refused = rig.publish(*broker, NatsRig::message("again", "x"));
    return !refused && refused.error().message.find("uthor") != std::string::npos;  // Authorization Violation
  });
  EXPECT_NE(refused.error().message.find("127.0.0.1"), std::string::npos) << refused.error().message;
  EXPECT_LT(proxy.accepted() - before, 30U) << "it spins";

  server.configure(with_me);
  server.reload();
  rig.until([&] { return rig.publish(*broker, NatsRig::message("b", "after")).has_value(); });
  const auto subscription = rig.subscribe(*broker);
  EXPECT_EQ(rig.next(*subscription)->event().data, "before");
}

TEST(NatsRefusals, ServerThatTakesOnlySmallMessagesBoundsOurs) {
  NatsServer server;
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  const auto too_large =
      rig.publish(*broker, NatsRig::message("a", std::string(broker->capabilities().message_bytes_max + 1, 'x')));
  EXPECT_EQ(outcome(too_large), "too_large");
  EXPECT_EQ(outcome(rig.publish(*broker, NatsRig::message("b", "fits"))), "ok") << "the connection is fine";
}

TEST(NatsRefusals, AnotherStoreAfterARestartIsALoudErrorAndNothingIsMadeAnewInSilence) {
  NatsServer server;
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(server.url()));
  rig.make_topic(*broker);
  ASSERT_EQ(outcome(rig.publish(*broker, NatsRig::message("a", "x"))), "ok");
  const auto subscription = rig.subscribe(*broker, 0);
  server.kill();
  server.empty_store();
  server.start();
  Result<Receipt> lost = Receipt{};
  rig.until([&] {
    lost = rig.publish(*broker, NatsRig::message("b", "x"));
    return outcome(lost) == "data_loss";
  });
  EXPECT_NE(lost.error().message.find(server.url()), std::string::npos) << lost.error().message;
  EXPECT_EQ(outcome(rig.await(broker->ensure({.name = "t", .groups = {"g", "h"}}))), "data_loss");
  EXPECT_EQ(outcome(rig.await(subscription->next({}))), "data_loss");
}

}  // namespace
}  // namespace millrace::test
