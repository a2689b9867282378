// Credentials of `nsc`: an operator, accounts and users that sign each other's tokens, against a real server. The
// tokens are made here, since they must be wrong or run out as a test wants it.
#include <openssl/evp.h>

#include <array>
#include <cctype>
#include <ctime>
#include <fstream>
#include <memory>

#include "formats/base64.h"
#include "formats/json.h"
#include "tests/faults/broker_nats/nats_rig.h"
#include "tests/support/temp_dir.h"

namespace millrace::test {
namespace {

constexpr unsigned kOperator = 14U << 3;  // prefixes of NATS keys: they make the first letter
constexpr unsigned kAccount = 0;
constexpr unsigned kUser = 20U << 3;
constexpr unsigned kSeed = 18U << 3;
constexpr std::size_t kKeyBytes = 32;

std::string base32(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  std::string text;
  unsigned held = 0;
  int bits = 0;
  for (const char byte : bytes) {
    held = (held << 8) | static_cast<unsigned char>(byte);
    for (bits += 8; bits >= 5; bits -= 5) text += kDigits[(held >> (bits - 5)) & 31];
  }
  if (bits > 0) text += kDigits[(held << (5 - bits)) & 31];
  return text;
}

std::string with_checksum(std::string bytes) {
  unsigned crc = 0;
  for (const char byte : bytes) {
    crc ^= static_cast<unsigned>(static_cast<unsigned char>(byte)) << 8;
    for (int bit = 0; bit < 8; ++bit) crc = ((crc & 0x8000U) != 0 ? (crc << 1) ^ 0x1021U : crc << 1) & 0xFFFFU;
  }
  bytes += static_cast<char>(crc & 0xFFU);
  bytes += static_cast<char>(crc >> 8);
  return base32(bytes);
}

std::string base64url(std::string_view bytes) {
  std::string text = base64_encode(bytes);
  while (text.ends_with('=')) text.pop_back();
  for (char& c : text) c = c == '+' ? '-' : c == '/' ? '_' : c;
  return text;
}

class Key {
 public:
  explicit Key(unsigned kind) : kind_(kind), key_(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), EVP_PKEY_free) {}

  [[nodiscard]] std::string name() const {
    return with_checksum(std::string(1, static_cast<char>(kind_)) + raw(EVP_PKEY_get_raw_public_key));
  }
  [[nodiscard]] std::string seed() const {
    std::string prefix(1, static_cast<char>(kSeed | (kind_ >> 5)));
    prefix += static_cast<char>((kind_ & 31U) << 3);
    return with_checksum(prefix + raw(EVP_PKEY_get_raw_private_key));
  }
  // A token about `subject`, signed by us.
  [[nodiscard]] std::string token(const std::string& subject, Json claims, std::int64_t expires = 0) const {
    Json body = Json::object({{"jti", "test"},
                              {"iat", static_cast<std::int64_t>(std::time(nullptr))},
                              {"iss", name()},
                              {"name", "test"},
                              {"sub", subject},
                              {"nats", std::move(claims)}});
    if (expires != 0) body.set("exp", expires);
    const std::string text = base64url(R"({"typ":"JWT","alg":"ed25519-nkey"})") + "." + base64url(body.dump());
    return text + "." + base64url(sign(text));
  }

 private:
  template <class Get>
  [[nodiscard]] std::string raw(Get get) const {
    std::array<unsigned char, kKeyBytes> bytes{};
    std::size_t size = bytes.size();
    EXPECT_EQ(get(key_.get(), bytes.data(), &size), 1);
    return {bytes.begin(), bytes.end()};
  }
  [[nodiscard]] std::string sign(const std::string& text) const {
    const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
    std::vector<unsigned char> bytes(text.begin(), text.end());
    std::array<unsigned char, 64> signature{};
    std::size_t size = signature.size();
    EXPECT_EQ(EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()), 1);
    EXPECT_EQ(EVP_DigestSign(context.get(), signature.data(), &size, bytes.data(), bytes.size()), 1);
    return {signature.begin(), signature.end()};
  }

  unsigned kind_;
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key_;
};

class NatsCredentials : public testing::Test {
 protected:
  NatsCredentials() {
    server_.kill();
    trust({});
    server_.start();
  }

  // What the server is to be told of our account, beside what it may do; from its next start or reload on.
  void trust(const Json::Object& claims) {
    const Json all(-1);
    Json limits = Json::object();
    for (const char* name : {"subs", "data", "payload", "imports", "exports", "conn", "leaf"}) limits.set(name, all);
    Json storing = limits;
    for (const char* name : {"mem_storage", "disk_storage", "streams", "consumer"}) storing.set(name, all);
    Json ours = Json::object({{"type", "account"}, {"version", 2}, {"limits", storing}});
    for (const auto& claim : claims) ours.set(claim.key, claim.value);
    const Json systems = Json::object({{"type", "account"}, {"version", 2}, {"limits", limits}});
    const auto preload = [&](const Key& account, const Json& said) {
      return account.name() + ": \"" + operator_.token(account.name(), said) + "\"\n";
    };
    server_.configure("operator: \"" +
                      operator_.token(operator_.name(), Json::object({{"type", "operator"}, {"version", 2}})) +
                      "\"\nsystem_account: " + system_.name() + "\nresolver: MEMORY\nresolver_preload: {\n" +
                      preload(account_, ours) + preload(system_, systems) + "}\n");
  }

  // A credentials file of `user`, for whom `account` stands.
  std::string credentials(const std::string& name, const Key& account, const Key& user, std::int64_t expires = 0) {
    return write(name, token(account, user, expires), user.seed());
  }
  std::string credentials(const std::string& name, const Key& account, std::int64_t expires = 0) {
    return credentials(name, account, Key(kUser), expires);
  }
  static std::string token(const Key& account, const Key& user, std::int64_t expires = 0) {
    const Json all(-1);
    return account.token(
        user.name(), Json::object({{"type", "user"}, {"version", 2}, {"subs", all}, {"data", all}, {"payload", all}}),
        expires);
  }
  std::string write(const std::string& name, const std::string& token, const std::string& seed) {
    std::ofstream(directory_ / name) << "-----BEGIN NATS USER JWT-----\n"
                                     << token << "\n------END NATS USER JWT------\n\n"
                                     << "-----BEGIN USER NKEY SEED-----\n"
                                     << seed << "\n------END USER NKEY SEED------\n";
    return directory_ / name;
  }
  NatsBrokerOptions options(const std::string& file) const {
    auto options = NatsRig::options(server_.url());
    options.credentials_file = file;
    return options;
  }
  void expect_refusal(const std::string& file, const std::string& code, const std::string& part) {
    const auto opened = rig_.try_open(options(file));
    EXPECT_EQ(outcome(opened), code);
    if (!opened) EXPECT_NE(opened.error().message.find(part), std::string::npos) << opened.error().message;
  }
  // Publishes until the server lets us in no more, and looks at what is said then.
  void expect_to_be_shut_out(Broker& broker) {
    Result<Receipt> refused = Receipt{};
    int number = 0;
    rig_.until([&] {
      refused = rig_.publish(broker, NatsRig::message("before " + std::to_string(++number), "x"));
      return !refused && refused.error().message.find("uthor") != std::string::npos;  // Authorization Violation
    });
    EXPECT_EQ(outcome(refused), "unavailable");
    EXPECT_NE(refused.error().message.find(server_.url()), std::string::npos) << refused.error().message;
    EXPECT_NE(refused.error().message.find("topic 't'"), std::string::npos) << refused.error().message;
  }
  static std::int64_t now_s() { return static_cast<std::int64_t>(std::time(nullptr)); }

  NatsServer server_;
  const TempDir directory_;
  const Key operator_{kOperator};
  const Key system_{kAccount};  // JetStream wants one
  const Key account_{kAccount};
  NatsRig rig_;
};

TEST_F(NatsCredentials, UserOfTheServersOperatorIsLetIn) {
  const auto broker = rig_.open(options(credentials("right", account_)));
  rig_.make_topic(*broker);
  ASSERT_EQ(outcome(rig_.publish(*broker, NatsRig::message("a", "x"))), "ok");
  const auto subscription = rig_.subscribe(*broker);
  EXPECT_EQ(rig_.next(*subscription)->event().data, "x");
}

TEST_F(NatsCredentials, StrangersAndUsersWhoseTimeIsOverAreRefused) {
  expect_refusal("", "permission_denied", server_.url());
  expect_refusal(credentials("of a stranger", Key(kAccount)), "permission_denied", server_.url());
  expect_refusal(credentials("too late", account_, now_s() - 60), "permission_denied", server_.url());
}

TEST_F(NatsCredentials, WhatIsNoCredentialsFileIsNamed) {
  expect_refusal(directory_ / "none", "invalid_argument", directory_ / "none");
  std::ofstream(directory_ / "nonsense") << "user: me\n";
  expect_refusal(directory_ / "nonsense", "invalid_argument", directory_ / "nonsense");
  const std::string whole = credentials("half", account_);
  std::filesystem::resize_file(whole, 200);
  expect_refusal(whole, "invalid_argument", whole);
}

// The token is right, and whoever shows it is not the one that it is about.
TEST_F(NatsCredentials, ATokenWithTheSeedOfSomebodyElseIsRefused) {
  const Key user(kUser);
  expect_refusal(write("stolen", token(account_, user), Key(kUser).seed()), "permission_denied", server_.url());
  const auto broker = rig_.open(options(write("own", token(account_, user), user.seed())));
  rig_.make_topic(*broker);
}

TEST_F(NatsCredentials, OnesThatRunOutAreToldAndNewOnesOfTheSameFileAreFound) {
  auto with = options(credentials("mine", account_, now_s() + 8));
  with.publish_timeout = milliseconds(1500);
  const auto broker = rig_.open(with);
  rig_.make_topic(*broker);
  expect_to_be_shut_out(*broker);
  credentials("mine", account_);
  rig_.until([&] { return rig_.publish(*broker, NatsRig::message("after", "x")).has_value(); });
}

// As an operator does with a key that has leaked: the account names it, and its connections end at once.
TEST_F(NatsCredentials, OnesThatAreRevokedAreToldAndThoseOfANewKeyInTheSameFileAreFound) {
  const Key user(kUser);
  auto with = options(credentials("mine", account_, user));
  with.publish_timeout = milliseconds(1500);
  const auto broker = rig_.open(with);
  rig_.make_topic(*broker, seconds(120));  // a lease that lasts until all this is over
  ASSERT_EQ(outcome(rig_.publish(*broker, NatsRig::message("kept", "x"))), "ok");
  const auto subscription = rig_.subscribe(*broker);
  const auto held = rig_.next(*subscription);
  ASSERT_EQ(outcome(rig_.await(held->begin())), "ok");

  trust({{"revocations", Json::object({{user.name(), now_s()}})}});
  server_.reload();
  expect_to_be_shut_out(*broker);
  expect_refusal(directory_ / "mine", "permission_denied", server_.url());

  credentials("mine", account_);
  rig_.until([&] { return rig_.publish(*broker, NatsRig::message("after", "x")).has_value(); });
  EXPECT_EQ(outcome(rig_.await(held->ack())), "ok") << "what was in work meanwhile is settled";
}

}  // namespace
}  // namespace millrace::test
