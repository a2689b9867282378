// What a NATS server may refuse, or have otherwise than we need it: a typed error that says where and what to do.
#include <cstdlib>
#include <fstream>

#include "broker/nats/link.h"
#include "formats/json.h"
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

Task<Result<Json>> call(nats::Link& link, std::string operation, Json request) {
  auto answer =
      co_await link.request({.subject = "$JS.API." + operation, .data = request.dump()}, std::chrono::seconds(5));
  if (!answer) co_return fail(answer.error());
  auto parsed = parse_json(answer->data(), 1 << 20);
  co_return parsed;
}

TEST(NatsRefusals, StreamsAndConsumersOfOurNamesWithOtherSettingsAreNamed) {
  NatsServer server;
  NatsRig rig;
  const auto broker = rig.open(NatsRig::options(server.url()));
  auto link = rig.await(nats::Link::open(rig.loop, NatsRig::options(server.url()), rig.log));
  ASSERT_EQ(outcome(link), "ok");
  // Somebody's stream in our place.
  ASSERT_TRUE(rig.await(call(**link, "STREAM.CREATE.millrace-t-theirs",
                             Json::object({{"name", "millrace-t-theirs"},
                                           {"subjects", Json::array({"theirs.>"})},
                                           {"retention", "limits"},
                                           {"storage", "memory"}}))));
  const auto refused = rig.await(broker->ensure({.name = "theirs", .groups = {"g"}}));
  EXPECT_EQ(outcome(refused), "failed_precondition");
  EXPECT_NE(refused.error().message.find("theirs"), std::string::npos) << refused.error().message;

  // Somebody's consumer in a group's place.
  ASSERT_EQ(outcome(rig.await(broker->ensure({.name = "t", .groups = {"g"}}))), "ok");
  ASSERT_TRUE(rig.await(
      call(**link, "CONSUMER.CREATE.millrace-t-t.h",
           Json::object({{"stream_name", "millrace-t-t"},
                         {"config", Json::object({{"durable_name", "h"}, {"name", "h"}, {"ack_policy", "none"}})}}))));
  const auto foreign = rig.await(broker->subscribe({.topic = "t", .group = "h"}));
  EXPECT_EQ(outcome(foreign), "failed_precondition");
  EXPECT_NE(foreign.error().message.find("'h'"), std::string::npos) << foreign.error().message;
  EXPECT_NE(foreign.error().message.find("'t'"), std::string::npos) << foreign.error().message;
  EXPECT_EQ(outcome(rig.publish(*broker, NatsRig::message("a", "x"))), "ok") << "the others go on";
  rig.await((*link)->close());
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
