#include "broker/nats/link_client.h"

#include <nats/nats.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>

namespace millrace::nats {
namespace {

constexpr std::int64_t kConnectTimeoutMs = 2000;
constexpr std::int64_t kWriteDeadlineMs = 5000;
constexpr int kReconnectBufferBytes = 8 << 20;
constexpr int kPingsOutMax = 2;
constexpr std::size_t kUrlBytesMax = 2048;
constexpr std::size_t kSecretBytesMax = 64U << 10;
constexpr std::string_view kEndOfJwt = "END NATS USER JWT";
constexpr std::string_view kEndOfSeed = "END USER NKEY SEED";

// What the library's callbacks get: freed by the last of them.
using Ear = std::shared_ptr<Link::Arrivals>;

Result<std::string> read_secret(const std::string& path, std::string_view what) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kSecretBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));  // a directory opens, and fails here
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (!file.is_open() || file.bad() || text.size() > kSecretBytesMax) {
    return fail(Errc::invalid_argument, "the " + std::string(what) + " cannot be read from '" + path +
                                            "': it must be a small file that the daemon's user may read");
  }
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  return text;
}

Error error_of(natsStatus status, const std::string& what) {
  std::string message = what + ": " + natsStatus_GetText(status);
  natsStatus last = NATS_OK;
  const char* detail = nats_GetLastError(&last);  // of this thread
  if (detail != nullptr && *detail != 0 && last == status) message += std::string(" (") + detail + ")";
  switch (status) {
    case NATS_NOT_PERMITTED:
    case NATS_CONNECTION_AUTH_FAILED: return {.code = Errc::permission_denied, .message = message};
    case NATS_MAX_PAYLOAD: return {.code = Errc::too_large, .message = message};
    case NATS_SSL_ERROR:
    case NATS_INVALID_ARG:
    case NATS_ADDRESS_MISSING: return {.code = Errc::invalid_argument, .message = message};
    default: return {.code = Errc::unavailable, .message = message};
  }
}

struct OptionsDeleter {
  void operator()(natsOptions* options) const { natsOptions_Destroy(options); }
};
using OptionsPtr = std::unique_ptr<natsOptions, OptionsDeleter>;

Result<void> set_login(natsOptions* options, const NatsBrokerOptions& wanted) {
  natsStatus status = NATS_OK;
  if (!wanted.password_file.empty() || !wanted.user.empty()) {
    std::string password;
    if (!wanted.password_file.empty()) {
      auto read = read_secret(wanted.password_file, "password of the NATS user");
      if (!read) return fail(read.error());
      password = std::move(*read);
    }
    status = natsOptions_SetUserInfo(options, wanted.user.c_str(), password.c_str());
  }
  if (status == NATS_OK && !wanted.token_file.empty()) {
    const auto token = read_secret(wanted.token_file, "NATS token");
    if (!token) return fail(token.error());
    status = natsOptions_SetToken(options, token->c_str());
  }
  if (status == NATS_OK && !wanted.credentials_file.empty()) {
    const auto read = read_secret(wanted.credentials_file, "NATS credentials");
    if (!read) return fail(read.error());
    if (read->find(kEndOfJwt) == std::string::npos || read->find(kEndOfSeed) == std::string::npos) {
      return fail(Errc::invalid_argument, "'" + wanted.credentials_file +
                                              "' is no credentials file of NATS: it must have a JWT and its seed, as "
                                              "`nsc generate creds` writes them");
    }
    status = natsOptions_SetUserCredentialsFromFiles(options, wanted.credentials_file.c_str(), nullptr);
  }
  if (status != NATS_OK) return fail(error_of(status, "set the login of the NATS connection"));
  return {};
}

Result<void> set_tls(natsOptions* options, const NatsBrokerOptions& wanted) {
  const bool files = !wanted.ca_file.empty() || !wanted.certificate_file.empty();
  if (!files && !wanted.url.starts_with("tls://")) return {};
  natsStatus status = natsOptions_SetSecure(options, true);
  if (status == NATS_OK && !wanted.ca_file.empty()) {
    status = natsOptions_LoadCATrustedCertificates(options, wanted.ca_file.c_str());
  }
  if (status == NATS_OK && !wanted.certificate_file.empty()) {
    status = natsOptions_LoadCertificatesChain(options, wanted.certificate_file.c_str(), wanted.key_file.c_str());
  }
  if (status != NATS_OK) {
    return fail(Errc::invalid_argument, "the TLS files of the NATS connection ('" + wanted.ca_file + "', '" +
                                            wanted.certificate_file +
                                            "') cannot be used: " + natsStatus_GetText(status));
  }
  return {};
}

void heard_message(natsConnection*, natsSubscription*, natsMsg* message, void* ear) {
  (*static_cast<Ear*>(ear))->put(Message(message));
}
void heard_disconnected(natsConnection*, void* ear) {
  (*static_cast<Ear*>(ear))->put(Change::disconnected);
}
void heard_reconnected(natsConnection*, void* ear) {
  (*static_cast<Ear*>(ear))->put(Change::reconnected);
}
void heard_closed(natsConnection*, void* ear) {
  (*static_cast<Ear*>(ear))->put(Change::closed);
  delete static_cast<Ear*>(ear);
}
void heard_all(void* ear) {
  delete static_cast<Ear*>(ear);
}
// Errors of the connection show as disconnects, those of our subscription cannot be: it has no limits. Without a
// handler the library writes to the terminal.
void heard_error(natsConnection*, natsSubscription*, natsStatus, void*) {}

}  // namespace

std::string_view Message::subject() const {
  return natsMsg_GetSubject(message_.get());
}

std::string_view Message::reply() const {
  const char* reply = natsMsg_GetReply(message_.get());
  return reply == nullptr ? std::string_view() : std::string_view(reply);
}

std::string_view Message::data() const {
  const char* data = natsMsg_GetData(message_.get());
  if (data == nullptr) return {};
  return {data, static_cast<std::size_t>(natsMsg_GetDataLength(message_.get()))};
}

std::optional<std::string> Message::header(const char* name) const {
  const char* value = nullptr;
  if (natsMsgHeader_Get(message_.get(), name, &value) != NATS_OK || value == nullptr) return std::nullopt;
  return value;
}

Headers Message::headers() const {
  Headers headers;
  const char** keys = nullptr;
  int count = 0;
  if (natsMsgHeader_Keys(message_.get(), &keys, &count) != NATS_OK) return headers;
  for (int i = 0; i < count; ++i) {
    const char* value = nullptr;
    if (natsMsgHeader_Get(message_.get(), keys[i], &value) != NATS_OK || value == nullptr) continue;
    headers.emplace_back(keys[i], value);
  }
  std::free(static_cast<void*>(keys));  // NOLINT(cppcoreguidelines-no-malloc): the library's own
  return headers;
}

int Message::status() const {
  if (natsMsg_GetDataLength(message_.get()) != 0) return 0;
  const auto status = header("Status");
  if (!status || status->size() != 3 || status->find_first_not_of("0123456789") != std::string::npos) return 0;
  return std::stoi(*status);
}

std::size_t Message::size_bytes() const {
  constexpr std::size_t kOverhead = 256;  // the library's, and headers, which are not counted before they are read
  return kOverhead + subject().size() + reply().size() + data().size();
}

void Message::Destroy::operator()(__natsMsg* message) const {
  natsMsg_Destroy(message);
}

void Link::Arrivals::wake_locked() {
  if (loop_ == nullptr || std::exchange(told_, true)) return;
  loop_->post([self = shared_from_this()] {
    if (self->on_arrival_) self->on_arrival_();
  });
}

void Link::Arrivals::put(Message message) {
  const std::lock_guard lock(mutex_);
  if (loop_ == nullptr) return;
  const std::size_t bytes = message.size_bytes();
  if (bytes_ + bytes > bytes_max_ && !messages_.empty()) {
    if (message.subject().starts_with(answers_)) {
      fail_locked(std::string(message.subject()),
                  {.code = Errc::unavailable,
                   .message = "the NATS server answered, but more than " + std::to_string(bytes_max_) +
                              " bytes of answers and messages wait here"});
    } else {
      ++dropped_;
    }
  } else {
    bytes_ += bytes;
    messages_.push_back(std::move(message));
  }
  wake_locked();
}

// Only the last one counts for long, so the oldest go in pairs.
void Link::Arrivals::put(Change change) {
  const std::lock_guard lock(mutex_);
  if (changes_.size() >= kChangesMax) changes_.erase(changes_.begin(), changes_.begin() + 2);
  changes_.push_back(static_cast<int>(change));
  wake_locked();
}

void Link::Arrivals::put_failure(std::string reply, Error error) {
  const std::lock_guard lock(mutex_);
  fail_locked(std::move(reply), std::move(error));
  wake_locked();
}

// Beyond the bound whoever waits finds out by his own timeout.
void Link::Arrivals::fail_locked(std::string reply, Error error) {
  if (failures_.size() < kFailuresMax) {
    failures_.emplace_back(std::move(reply), std::move(error));
  } else {
    ++dropped_;
  }
}

Link::Arrivals::Batch Link::Arrivals::take(std::size_t messages_max) {
  Batch batch;
  const std::lock_guard lock(mutex_);
  batch.changes = std::exchange(changes_, {});
  batch.failures = std::exchange(failures_, {});
  batch.dropped = std::exchange(dropped_, 0);
  batch.messages.reserve(std::min(messages_.size(), messages_max));
  while (!messages_.empty() && batch.messages.size() < messages_max) {
    bytes_ -= messages_.front().size_bytes();
    batch.messages.push_back(std::move(messages_.front()));
    messages_.pop_front();
  }
  batch.more = told_ = !messages_.empty();
  return batch;
}

void Link::Arrivals::stop() {
  on_arrival_ = nullptr;
  const std::lock_guard lock(mutex_);
  loop_ = nullptr;
  messages_.clear();
  bytes_ = 0;
}

Result<std::shared_ptr<Link::Client>> Link::Client::connect(const NatsBrokerOptions& wanted,
                                                            const std::shared_ptr<Arrivals>& arrivals,
                                                            const std::vector<std::string>& subjects) {
  natsOptions* made = nullptr;
  if (const auto status = natsOptions_Create(&made); status != NATS_OK) {
    return fail(error_of(status, "prepare a NATS connection"));
  }
  const OptionsPtr options(made);
  if (auto login = set_login(made, wanted); !login) return fail(login.error());
  if (auto tls = set_tls(made, wanted); !tls) return fail(tls.error());
  auto ear = std::make_unique<Ear>(arrivals);
  const auto jitter_ms = 2 * wanted.reconnect_wait.count();
  const auto servers = nats_servers(wanted.url);  // the library takes a list of them for one host's name
  std::vector<const char*> list;
  for (const auto& each : servers) list.push_back(each.c_str());
  const std::array steps{
      natsOptions_SetServers(made, list.data(), static_cast<int>(list.size())),
      natsOptions_SetName(made, wanted.node.c_str()),
      natsOptions_SetTimeout(made, kConnectTimeoutMs),
      natsOptions_SetPingInterval(made, wanted.ping_interval.count()),
      natsOptions_SetMaxPingsOut(made, kPingsOutMax),
      natsOptions_SetMaxReconnect(made, -1),
      natsOptions_SetReconnectWait(made, wanted.reconnect_wait.count()),
      natsOptions_SetReconnectJitter(made, jitter_ms, jitter_ms),
      natsOptions_SetReconnectBufSize(made, kReconnectBufferBytes),
      natsOptions_SetWriteDeadline(made, kWriteDeadlineMs),
      natsOptions_SetSendAsap(made, true),  // the library's own way adds up to a millisecond
      natsOptions_SetErrorHandler(made, heard_error, nullptr),
      natsOptions_SetDisconnectedCB(made, heard_disconnected, ear.get()),
      natsOptions_SetReconnectedCB(made, heard_reconnected, ear.get()),
      natsOptions_SetClosedCB(made, heard_closed, ear.get()),
  };
  for (const auto status : steps) {
    if (status != NATS_OK) return fail(error_of(status, "the URL or an option of the NATS connection"));
  }
  std::shared_ptr<Client> client(new Client());
  if (const auto status = natsConnection_Connect(&client->connection_, made); status != NATS_OK) {
    client->connection_ = nullptr;
    return fail(error_of(status, "connect to the NATS server at " + shown_nats_url(wanted.url)));
  }
  ear.release();  // NOLINT(bugprone-unused-return-value): heard_closed frees it, whatever happens below
  std::array<char, kUrlBytesMax> url{};
  if (natsConnection_GetConnectedUrl(client->connection_, url.data(), url.size()) == NATS_OK) {
    client->server_ = ask_server(url.data());
  }
  if (client->server_) {
    if (auto ok = check_version(*client->server_, url.data()); !ok) return fail(ok.error());
  }
  for (const auto& subject : subjects) {
    if (auto heard = client->subscribe(subject, arrivals); !heard) return fail(heard.error());
  }
  return client;
}

Result<void> Link::Client::subscribe(const std::string& subject, const std::shared_ptr<Arrivals>& arrivals) {
  auto heard = std::make_unique<Ear>(arrivals);
  natsSubscription* subscription = nullptr;
  auto status = natsConnection_Subscribe(&subscription, connection_, subject.c_str(), heard_message, heard.get());
  if (status != NATS_OK) return fail(error_of(status, "subscribe to '" + subject + "'"));
  subscriptions_.push_back(subscription);
  status = natsSubscription_SetOnCompleteCB(subscription, heard_all, heard.get());
  if (status == NATS_OK) heard.release();  // NOLINT(bugprone-unused-return-value): heard_all frees it
  // Arrivals has the bound.
  if (status == NATS_OK) status = natsSubscription_SetPendingLimits(subscription, -1, -1);
  if (status != NATS_OK) return fail(error_of(status, "subscribe to '" + subject + "'"));
  return {};
}

Result<void> Link::Client::publish(const Packet& packet, const std::string& reply) {
  natsMsg* made = nullptr;
  auto status = natsMsg_Create(&made, packet.subject.c_str(), reply.empty() ? nullptr : reply.c_str(),
                               packet.data.data(), static_cast<int>(packet.data.size()));
  if (status != NATS_OK) return fail(error_of(status, "make a NATS message"));
  const Message message(made);
  for (const auto& [name, value] : packet.headers) {
    status = natsMsgHeader_Set(made, name.c_str(), percent_encode(value).c_str());
    if (status != NATS_OK) return fail(error_of(status, "set the NATS header '" + name + "'"));
  }
  status = natsConnection_PublishMsg(connection_, made);
  if (status != NATS_OK) return fail(error_of(status, "send to the NATS server"));
  return {};
}

std::size_t Link::Client::payload_bytes_max() const {
  return static_cast<std::size_t>(natsConnection_GetMaxPayload(connection_));
}

void Link::Client::close() {
  if (connection_ != nullptr) natsConnection_Close(connection_);
  for (auto* subscription : std::exchange(subscriptions_, {})) natsSubscription_Destroy(subscription);
  natsConnection_Destroy(connection_);
  connection_ = nullptr;
}

Link::Sender::Sender(EventLoop& loop, std::shared_ptr<Client> client, std::shared_ptr<Arrivals> arrivals,
                     std::size_t bytes_max)
    : loop_(loop), client_(std::move(client)), arrivals_(std::move(arrivals)), bytes_max_(bytes_max), thread_([this] {
        run();
      }) {}

void Link::Sender::finish() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

std::size_t Link::Sender::size_of(const Sending& sending) {
  constexpr std::size_t kOverhead = 64;
  const Packet& packet = *sending.packet;
  std::size_t bytes = kOverhead + packet.subject.size() + sending.reply.size() + packet.data.size();
  for (const auto& [name, value] : packet.headers) bytes += name.size() + value.size();
  return bytes;
}

bool Link::Sender::send(std::shared_ptr<const Packet> packet, std::string reply) {
  Sending sending{.packet = std::move(packet), .reply = std::move(reply)};
  const std::size_t bytes = size_of(sending);
  const std::size_t before = waiting_bytes_;
  if (before + bytes > bytes_max_ && before > 0) return false;
  waiting_bytes_ += bytes;
  collected_.push_back(std::move(sending));
  if (collected_.size() == 1) {
    loop_.post([weak = weak_from_this()] {
      if (const auto sender = weak.lock()) sender->hand_over();
    });
  }
  return true;
}

void Link::Sender::hand_over() {
  if (collected_.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    std::ranges::move(collected_, std::back_inserter(queue_));
  }
  collected_.clear();
  wake_.notify_one();
}

void Link::Sender::run() {
  for (std::vector<Sending> batch;; batch.clear()) {
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) return;
      batch.swap(queue_);
    }
    for (auto& sending : batch) {
      auto sent = client_->publish(*sending.packet, sending.reply);
      const std::size_t bytes = size_of(sending);
      sending.packet.reset();
      waiting_bytes_ -= bytes;
      if (!sent && !sending.reply.empty()) arrivals_->put_failure(std::move(sending.reply), std::move(sent.error()));
    }
  }
}

std::string percent_encode(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string encoded;
  encoded.reserve(text.size());
  for (const char c : text) {
    if (c > ' ' && c < 127 && c != '%' && c != '"') {
      encoded += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += '%';
    encoded += kHex[byte >> 4];
    encoded += kHex[byte & 15];
  }
  return encoded;
}

std::string percent_decode(std::string_view text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  std::string decoded;
  decoded.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      decoded += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

}  // namespace millrace::nats
