#include "broker/nats/wire.h"

#include <gtest/gtest.h>

#include <string>

#include "broker/nats/durability.h"
#include "broker/nats/names.h"
#include "broker/nats/nats_options.h"

namespace millrace::nats {
namespace {

TEST(NatsWire, AnyBytesSurviveThePercentEncoding) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  const std::string encoded = percent_encode(all);
  EXPECT_EQ(percent_decode(encoded), all);
  for (const char c : encoded) EXPECT_TRUE(c > ' ' && c < 127 && c != '"') << c;
  EXPECT_EQ(percent_decode("100%"), "100%");
  EXPECT_EQ(percent_decode("%4"), "%4");
  EXPECT_EQ(percent_decode("%zz"), "%zz");
  EXPECT_EQ(percent_decode("%41"), "A");
}

TEST(NatsWire, AckSubjectsOfBothFormsAreRead) {
  const auto plain = position_of("$JS.ACK.orders.g.2.17.40.1700000000000000000.5");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->delivered, 2U);
  EXPECT_EQ(plain->seq, 17U);
  EXPECT_EQ(plain->pending, 5U);
  const auto of_domain = position_of("$JS.ACK.hub.ACCOUNT.orders.g.1.18.41.1700000000000000000.0.token");
  ASSERT_TRUE(of_domain);
  EXPECT_EQ(of_domain->delivered, 1U);
  EXPECT_EQ(of_domain->seq, 18U);
  EXPECT_EQ(consumer_of("$JS.ACK.orders.g.2.17.40.1.5"), "orders.g");
  EXPECT_EQ(consumer_of("$JS.ACK.hub.ACCOUNT.orders.g.1.18.41.1.0"), "orders.g");
}

TEST(NatsWire, ReplySubjectsThatAreNoAcksAreNone) {
  for (const std::string text :
       {"", "$JS.ACK", "_INBOX.a.b", "$JS.ACK.o.g.1.2.3.4", "$JS.ACK.o.g.x.2.3.4.5", "$JS.ACK.o.g.1.-2.3.4.5",
        "$JS.ACK.a.b.o.g.1.2.3.4", "a.b.c.d.1.2.3.4.5", "$JS.ACK.a.b.c.d.1.2.3.4.5.6.7.8.9"}) {
    EXPECT_FALSE(position_of(text)) << text;
  }
}

TEST(NatsWire, RecordsOfAttemptsComeBackAndForeignOnesAreDataLoss) {
  const Attempt attempt{.owner = "abc.7", .until_ms = 1'700'000'000'123, .counters = {.failures = 3, .losses = 2}};
  const auto same = decode_attempt(encode(attempt));
  ASSERT_TRUE(same);
  EXPECT_EQ(same->owner, "abc.7");
  EXPECT_EQ(same->until_ms, attempt.until_ms);
  EXPECT_EQ(same->counters.failures, 3U);
  EXPECT_EQ(same->counters.losses, 2U);
  const auto nobodys = decode_attempt(encode(Attempt{}));
  ASSERT_TRUE(nobodys);
  EXPECT_TRUE(nobodys->owner.empty());
  for (const std::string text : {"", "a", "a 1 2", "a 1 2 3 4", "a x 2 3", "a 1 -2 3", "a 1 2 99999999999"}) {
    const auto decoded = decode_attempt(text);
    ASSERT_FALSE(decoded) << text;
    EXPECT_EQ(decoded.error().code, Errc::data_loss);
  }
}

TEST(NatsWire, MessageOfAStrangerBecomesTheDataOfAnEvent) {
  const Headers headers{{"Content-Type", "text/plain"}, {"Tenant", "a%20b"}, {"X-Trace", "1"}, {"id", "no attribute"}};
  const Origin origin{.stream = "orders", .created = "2026-01-01T00:00:00Z", .seq = 12, .stored_at = from_ms(5'000)};
  const Received received = decode(headers, "orders.new", "hello", origin);
  EXPECT_EQ(received.id, "orders:12");
  EXPECT_EQ(received.published_at, from_ms(5'000));
  EXPECT_EQ(received.event.data, "hello");
  EXPECT_EQ(received.event.type, "nats.message");
  EXPECT_EQ(received.event.source, "nats:orders");
  EXPECT_EQ(received.event.source_id, "2026-01-01T00:00:00Z/12");
  EXPECT_EQ(received.event.subject, "orders.new");
  EXPECT_EQ(received.event.content_type, "text/plain");
  const std::vector<std::pair<std::string, std::string>> tenant{{"tenant", "a b"}};
  EXPECT_EQ(received.event.extensions, tenant);
  Origin again = origin;
  EXPECT_EQ(decode(headers, "orders.new", "hello", again).event.id, received.event.id) << "however often it comes";
  again.created = "2026-01-02T00:00:00Z";
  EXPECT_NE(decode(headers, "orders.new", "hello", again).event.id, received.event.id) << "another stream's number 12";
}

TEST(NatsWire, CloudEventsOfStrangersAreUnderstoodInBothModes) {
  const Headers binary{{"ce-specversion", "1.0"}, {"ce-id", "7"},
                       {"ce-source", "/shop"},    {"ce-type", "order"},
                       {"ce-subject", "s%C3%A4"}, {"content-type", "application/json"}};
  const auto first = decode(binary, "t", R"({"n":1})", {.stream = "s", .seq = 1}).event;
  EXPECT_EQ(first.source_id, "7");
  EXPECT_EQ(first.type, "order");
  EXPECT_EQ(first.subject, "s\xc3\xa4");
  EXPECT_EQ(first.data, R"({"n":1})");
  const auto second = decode({{"Content-Type", "application/cloudevents+json; charset=utf-8"}}, "t",
                             R"({"specversion":"1.0","id":"7","source":"/shop","type":"order","data":{"n":1}})",
                             {.stream = "s", .seq = 2})
                          .event;
  EXPECT_EQ(second.source_id, "7");
  EXPECT_EQ(second.data, R"({"n":1})");
  EXPECT_EQ(second.id, first.id) << "the same event, whatever its mode";
}

TEST(NatsWire, ADocumentWithoutHeadersIsACloudEventWhenItSaysSo) {
  const auto event =
      decode({}, "t", R"({"specversion":"1.0","id":"7","source":"/shop","type":"order"})", {.stream = "s", .seq = 2})
          .event;
  EXPECT_EQ(event.source_id, "7");
  const std::string other = R"({"specversion":"1.0","n":1})";
  EXPECT_EQ(decode({}, "t", other, {.stream = "s", .seq = 3}).event.data, other);
  const std::string told = R"({"specversion":"1.0","id":"7","source":"/shop","type":"order"})";
  const Headers plain{{"Content-Type", "text/plain"}};
  EXPECT_EQ(decode(plain, "t", told, {.stream = "s", .seq = 4}).event.data, told) << "its sender says what it is";
}

Outgoing to_be_structured(std::string data) {
  Outgoing message{.id = "m", .event = {}, .delay = std::chrono::milliseconds(5), .structured = true};
  message.event.source = "/s";
  message.event.source_id = "1";
  message.event.type = "t";
  message.event.content_type = "text/plain";
  message.event.hops = 2;
  message.event.data = std::move(data);
  return message;
}

TEST(NatsWire, AStructuredMessageIsOneDocumentAndComesBackTheSame) {
  const Outgoing message = to_be_structured("hello");
  const Packet packet = encode(message, "t", from_ms(1'000), 1'000);
  EXPECT_EQ(packet.headers.front(),
            (std::pair<std::string, std::string>{"content-type", "application/cloudevents+json"}));
  for (const auto& [name, value] : packet.headers) EXPECT_FALSE(name.starts_with("ce-")) << name;
  EXPECT_EQ(packet.data, R"({"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":"text/plain",)"
                         R"("millracehops":"2","data":"hello"})");
  const Received received = decode(packet.headers, "t", packet.data, {.stream = "s", .seq = 1});
  EXPECT_EQ(received.id, "m");
  EXPECT_EQ(received.published_at, from_ms(1'000));
  EXPECT_EQ(to_headers(received.event).size(), to_headers(message.event).size() + 1) << "and the id made of it";
  EXPECT_EQ(received.event.hops, 2U);
  EXPECT_EQ(received.event.data, "hello");
}

TEST(NatsWire, WhatCannotBeADocumentStaysInBinaryMode) {
  const Outgoing message = to_be_structured("hello");
  const std::size_t bytes = encode(message, "t", from_ms(0), 1'000).data.size();
  EXPECT_EQ(encode(message, "t", from_ms(0), bytes).data.size(), bytes);
  const Packet large = encode(message, "t", from_ms(0), bytes - 1);
  EXPECT_EQ(large.data, "hello");
  EXPECT_EQ(large.headers.front().first, "ce-specversion");
  Outgoing odd = to_be_structured("hello");
  odd.event.subject = "\xff";
  EXPECT_EQ(encode(odd, "t", from_ms(0), 1'000).data, "hello");
}

TEST(NatsWire, WhatOnlyLooksLikeACloudEventIsData) {
  const Headers nameless{{"ce-specversion", "1.0"}, {"ce-id", ""}, {"ce-source", "/s"}, {"ce-type", "t"}};
  const auto first = decode(nameless, "t", "x", {.stream = "s", .seq = 1}).event;
  const auto second = decode(nameless, "t", "x", {.stream = "s", .seq = 2}).event;
  EXPECT_EQ(first.type, "nats.message");
  EXPECT_NE(first.id, second.id);
  const auto broken =
      decode({{"Content-Type", "application/cloudevents+json"}}, "t", "{", {.stream = "s", .seq = 3}).event;
  EXPECT_EQ(broken.type, "nats.message");
  EXPECT_EQ(broken.data, "{");
}

TEST(NatsWire, AcksTellWhenTheServerStoredTheMessage) {
  EXPECT_EQ(stored_at("$JS.ACK.o.g.1.2.3.1700000000123456789.5"),
            from_ms(1'700'000'000'123) + std::chrono::nanoseconds(456'789));
  EXPECT_EQ(stored_at("$JS.ACK.o.g.1.2.3.x.5"), WallTime());
  EXPECT_EQ(stored_at("elsewhere"), WallTime());
}

TEST(NatsNames, TopicsAndStreamsAreEachOthers) {
  const auto names = Names::make("millrace");
  ASSERT_TRUE(names);
  for (const std::string topic : {"fn.resize", "orders", "a..b", "a.", "x_y-z"}) {
    EXPECT_EQ(names->topic_of(names->stream(topic)), topic);
    EXPECT_EQ(names->stream(topic).find('.'), std::string::npos);
  }
  EXPECT_FALSE(names->topic_of("other-t-orders"));
  for (const std::string prefix : {"", "a.b", "A", "a b", "a-b", "123456789012345678901234567890123"}) {
    EXPECT_FALSE(Names::make(prefix)) << prefix;
  }
}

TEST(NatsUrl, WhatIsNoListOfServersIsRefusedWithoutItsPassword) {
  for (const std::string url :
       {"nats://a:4222", "nats://a:4222,b:4223", "tls://a", "nats://[::1]:4222", "nats://[::1]"}) {
    EXPECT_TRUE(check_nats_url(url)) << url;
  }
  for (const std::string url : {"", "http://a", "nats://", "nats://a:0", "nats://a:65536", "nats://a:b", "nats://a b:1",
                                "nats://a:4222,", "nats://u:secret@a:x", "nats://a/b"}) {
    const auto checked = check_nats_url(url);
    ASSERT_FALSE(checked) << url;
    EXPECT_EQ(checked.error().code, Errc::invalid_argument);
    EXPECT_EQ(checked.error().message.find("secret"), std::string::npos);
  }
  EXPECT_EQ(shown_nats_url("nats://u:secret@a:1,u:secret@b:2"), "nats://a:1,b:2");
  EXPECT_EQ(nats_servers("tls://a:1,b,nats://c:3"), (std::vector<std::string>{"tls://a:1", "tls://b", "nats://c:3"}));
}

Json stream(int replicas, const char* storage = "file") {
  return Json::object({{"config", Json::object({{"storage", storage}, {"num_replicas", replicas}})}});
}

TEST(NatsDurability, IsWhatCanBeKnownAndNoMore) {
  EXPECT_EQ(assess(stream(1), {.url = "nats://a"}, false).durability, Durability::page_cache);
  EXPECT_EQ(assess(stream(1), {.url = "nats://a", .synced = true}, false).durability, Durability::synced);
  const NatsBrokerOptions asking{.url = "nats://a", .monitor_url = "http://a:8222", .synced = true};
  EXPECT_EQ(assess(stream(1), asking, true).durability, Durability::synced);
  EXPECT_EQ(assess(stream(1), asking, false).durability, Durability::page_cache) << "what is seen beats what is said";
  EXPECT_EQ(assess(stream(1), asking, fail(Errc::unavailable, "away")).durability, Durability::page_cache);
  EXPECT_EQ(assess(stream(3), {.url = "nats://a"}, false).durability, Durability::replicated);
  EXPECT_EQ(assess(stream(3, "memory"), {.url = "nats://a"}, false).durability, Durability::memory);
  EXPECT_EQ(assess(Json::object(), {.url = "nats://a"}, false).durability, Durability::memory);
}

}  // namespace
}  // namespace millrace::nats
