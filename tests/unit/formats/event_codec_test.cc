#include "formats/event_codec.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>

namespace millrace {
namespace {

Event full_event() {
  Event event;
  event.id = EventId("00112233445566778899aabbccddeeff");
  event.source = "file:///data/buckets";
  event.source_id = "a-1";
  event.type = std::string(kObjectCreated);
  event.subject = "cam/k\xc3\xbc\xc3\xa7\xc3\xbck.avi";
  event.time = std::chrono::system_clock::time_point(std::chrono::nanoseconds(1'763'712'900'123'456'789));
  event.content_type = "application/json";
  event.order = Order("01ARZ3NDEKTSV4RRFFQ69G5FAV");
  event.hops = 3;
  event.generation = 4'294'967'295U;
  event.cause = RunId("ffeeddccbbaa99887766554433221100");
  event.object = ObjectRef{.store = "s3.main",
                           .bucket = "videos",
                           .key = "cam/a.avi",
                           .version = {.size_bytes = 18'446'744'073'709'551'615U, .mtime_ns = -5, .inode = 99},
                           .private_path = ".millrace/ab/run/token/private/a.avi"};
  event.extensions = {{"traceparent", "00-abc"}, {"tenant", ""}};
  event.data = std::string("\0\x01 binary \xff", 11);
  return event;
}

void expect_same(const Event& a, const Event& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.source, b.source);
  EXPECT_EQ(a.source_id, b.source_id);
  EXPECT_EQ(a.type, b.type);
  EXPECT_EQ(a.subject, b.subject);
  EXPECT_EQ(a.time, b.time);
  EXPECT_EQ(a.content_type, b.content_type);
  EXPECT_EQ(a.order, b.order);
  EXPECT_EQ(a.hops, b.hops);
  EXPECT_EQ(a.generation, b.generation);
  EXPECT_EQ(a.cause, b.cause);
  ASSERT_EQ(a.object.has_value(), b.object.has_value());
  if (a.object) {
    EXPECT_EQ(a.object->store, b.object->store);
    EXPECT_EQ(a.object->bucket, b.object->bucket);
    EXPECT_EQ(a.object->key, b.object->key);
    EXPECT_EQ(a.object->version, b.object->version);
    EXPECT_EQ(a.object->private_path, b.object->private_path);
  }
  EXPECT_EQ(a.extensions, b.extensions);
  EXPECT_EQ(a.data, b.data);
}

void expect_round_trip(const Event& event) {
  const auto decoded = decode_event(encode_event(event));
  ASSERT_TRUE(decoded) << decoded.error().message;
  expect_same(event, *decoded);
  const auto from = from_headers(to_headers(event), event.data);
  ASSERT_TRUE(from) << from.error().message;
  expect_same(event, *from);
}

Headers with(std::string name, std::string value) {
  Headers headers = to_headers(full_event());
  std::erase_if(headers, [&name](const auto& header) { return header.first == name; });
  headers.emplace_back(std::move(name), std::move(value));
  return headers;
}

std::string refusal(const Headers& headers) {
  const auto event = from_headers(headers, "");
  if (event) return "accepted";
  EXPECT_EQ(event.error().code, Errc::invalid_argument);
  return event.error().message;
}

void append_u32(std::string& out, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

TEST(EventCodec, KeepsEveryField) {
  expect_round_trip(full_event());
}

TEST(EventCodec, KeepsAnEmptyEventEmpty) {
  expect_round_trip(Event{});
}

TEST(EventCodec, KeepsAnObjectWhoseFieldsAreAllEmpty) {
  Event event;
  event.object = ObjectRef{.store = "", .bucket = "", .key = "", .version = {}, .private_path = ""};
  expect_round_trip(event);
}

TEST(EventCodec, KeepsEachFieldOnItsOwn) {
  // One field at a time shows that none leans on another.
  const Event full = full_event();
  std::vector<Event> events;
  events.emplace_back().id = full.id;
  events.emplace_back().source = full.source;
  events.emplace_back().source_id = full.source_id;
  events.emplace_back().type = full.type;
  events.emplace_back().subject = full.subject;
  events.emplace_back().time = full.time;
  events.emplace_back().content_type = full.content_type;
  events.emplace_back().order = full.order;
  events.emplace_back().hops = full.hops;
  events.emplace_back().generation = full.generation;
  events.emplace_back().cause = full.cause;
  events.emplace_back().object = full.object;
  events.emplace_back().extensions = full.extensions;
  events.emplace_back().data = full.data;
  for (const auto& event : events) expect_round_trip(event);
}

TEST(EventCodec, KeepsRandomEvents) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto bytes = [&random](std::size_t size_max) {
    std::string text(random() % (size_max + 1), '\0');
    for (auto& c : text) c = static_cast<char>(random());
    return text;
  };
  for (int i = 0; i < 2000; ++i) {
    Event event;
    event.id = EventId(bytes(32));
    event.source = bytes(20);
    event.source_id = bytes(20);
    event.type = bytes(20);
    event.subject = bytes(40);
    event.time += std::chrono::nanoseconds(static_cast<std::int64_t>(random() % 9'000'000'000'000'000'000ULL));
    event.order = Order(bytes(26));
    event.hops = static_cast<std::uint32_t>(random());
    event.generation = static_cast<std::uint32_t>(random());
    event.cause = RunId(bytes(32));
    if (random() % 2 == 0) {
      event.object = ObjectRef{
          .store = bytes(5),
          .bucket = bytes(5),
          .key = bytes(30),
          .version = {.size_bytes = random(), .mtime_ns = static_cast<std::int64_t>(random()), .inode = random()},
          .private_path = bytes(30)};
    }
    for (std::uint64_t n = random() % 4; n > 0; --n) event.extensions.emplace_back("x" + std::to_string(n), bytes(9));
    event.data = bytes(300);
    expect_round_trip(event);
  }
}

TEST(EventCodec, WritesTheHeadersInAFixedOrder) {
  Event event;
  event.source = "s";
  event.source_id = "1";
  event.type = "t";
  event.extensions = {{"zone", "z"}};
  const Headers expected{
      {"ce-specversion", "1.0"}, {"ce-id", "1"}, {"ce-source", "s"}, {"ce-type", "t"}, {"ce-zone", "z"}};
  EXPECT_EQ(to_headers(event), expected);
}

TEST(EventCodec, AnExtensionCannotSpeakForUs) {
  Event event = full_event();
  event.extensions = {{"millracehops", "0"}, {"id", "other"}, {"tenant", "a"}};
  const auto decoded = decode_event(encode_event(event));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->hops, 3U);
  EXPECT_EQ(decoded->source_id, "a-1");
  EXPECT_EQ(decoded->extensions, (std::vector<std::pair<std::string, std::string>>{{"tenant", "a"}}));
}

TEST(EventCodec, UnderstandsHeaderNamesInAnyCase) {
  const auto event = from_headers(
      {{"Ce-SpecVersion", "1.0"}, {"CE-ID", "1"}, {"ce-Source", "s"}, {"ce-type", "t"}, {"Content-Type", "a/b"}}, "d");
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_EQ(event->source_id, "1");
  EXPECT_EQ(event->content_type, "a/b");
}

TEST(EventCodec, IgnoresForeignHeadersAndKeepsUnknownAttributes) {
  const auto event = from_headers(with("Nats-Expected-Stream", "x"), "");
  ASSERT_TRUE(event);
  expect_same(*event, [] {
    Event same = full_event();
    same.data.clear();
    return same;
  }());
  const auto extended = from_headers(with("ce-millracefuture", "x"), "");
  ASSERT_TRUE(extended);
  EXPECT_EQ(extended->extensions.back(), (std::pair<std::string, std::string>{"millracefuture", "x"}));
}

TEST(EventCodec, NamesTheRequiredHeaderThatIsMissing) {
  for (const std::string name : {"ce-specversion", "ce-id", "ce-source", "ce-type"}) {
    Headers headers = to_headers(full_event());
    std::erase_if(headers, [&name](const auto& header) { return header.first == name; });
    EXPECT_EQ(refusal(headers), "header '" + name + "' is missing");
  }
}

TEST(EventCodec, NamesTheHeaderThatIsWrong) {
  EXPECT_EQ(refusal(with("ce-specversion", "0.3")), "header 'ce-specversion' must be 1.0, the only version there is");
  EXPECT_NE(refusal(with("ce-time", "yesterday")).find("header 'ce-time': 'yesterday' is not a time"),
            std::string::npos);
  for (const std::string name :
       {"ce-millracehops", "ce-millracegeneration", "ce-millracesize", "ce-millracemtime", "ce-millraceinode"}) {
    for (const std::string value : {"", "x", "1x", " 1", "1 ", "+1", "0x1", "99999999999999999999999"}) {
      EXPECT_NE(refusal(with(name, value)).find("header '" + name + "' is not a whole number"), std::string::npos)
          << name << "=" << value;
    }
  }
  EXPECT_NE(refusal(with("ce-millracehops", "4294967296")).find("of its range"), std::string::npos);
  EXPECT_NE(refusal(with("ce-millracehops", "-1")).find("of its range"), std::string::npos);
}

TEST(EventCodec, RefusesAHeaderThatIsThereTwice) {
  Headers headers = to_headers(full_event());
  headers.emplace_back("CE-ID", "other");
  EXPECT_EQ(refusal(headers), "header 'ce-id' is there twice");
  headers = to_headers(full_event());
  headers.emplace_back("ce-Tenant", "other");
  EXPECT_EQ(refusal(headers), "header 'ce-tenant' is there twice");
}

TEST(EventCodec, RefusesPartsOfAnObjectWithoutABucket) {
  for (const std::string name : {"store", "key", "size", "mtime", "inode", "privatepath"}) {
    const Headers headers{
        {"ce-specversion", "1.0"}, {"ce-id", "1"}, {"ce-source", "s"}, {"ce-type", "t"}, {"ce-millrace" + name, "1"}};
    EXPECT_EQ(refusal(headers), "header 'ce-millracebucket' is missing beside ce-millrace" + name);
  }
}

TEST(EventCodec, RefusesEveryTruncation) {
  const std::string bytes = encode_event(full_event());
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto event = decode_event(std::string_view(bytes).substr(0, size));
    ASSERT_FALSE(event) << size;
    ASSERT_EQ(event.error().code, Errc::invalid_argument) << size;
    ASSERT_NE(event.error().message.find("is cut off in "), std::string::npos) << event.error().message;
  }
}

TEST(EventCodec, RefusesBytesThatFollow) {
  const auto event = decode_event(encode_event(full_event()) + "x");
  ASSERT_FALSE(event);
  EXPECT_EQ(event.error().message, "an event is followed by 1 foreign bytes");
}

TEST(EventCodec, RefusesLengthsThatReachPastTheEnd) {
  for (const std::uint32_t length : {1U, 0x7fffffffU, 0xffffffffU}) {
    std::string count_only;
    append_u32(count_only, length);
    EXPECT_FALSE(decode_event(count_only));

    std::string long_name;
    append_u32(long_name, 1);
    append_u32(long_name, length);
    EXPECT_FALSE(decode_event(long_name));

    std::string long_data;
    append_u32(long_data, 0);
    append_u32(long_data, length);
    EXPECT_FALSE(decode_event(long_data));
  }
}

TEST(EventCodec, SurvivesAnyChangedByte) {
  const auto seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::string good = encode_event(full_event());
  for (int i = 0; i < 5000; ++i) {
    std::string bytes = good;
    for (std::uint64_t n = random() % 4 + 1; n > 0; --n) bytes[random() % bytes.size()] = static_cast<char>(random());
    const auto event = decode_event(bytes);
    if (event) expect_round_trip(*event);
  }
}

TEST(EventCodec, HoldsTheBoundOfTheData) {
  Event event = full_event();
  event.data.assign(kEventBytesMax, 'x');
  EXPECT_TRUE(check_event_size(event));
  EXPECT_TRUE(decode_event(encode_event(event)));
  EXPECT_TRUE(from_headers(to_headers(event), event.data));

  event.data += 'x';
  EXPECT_EQ(check_event_size(event).error().code, Errc::too_large);
  EXPECT_EQ(decode_event(encode_event(event)).error().code, Errc::too_large);
  EXPECT_EQ(from_headers(to_headers(event), event.data).error().code, Errc::too_large);
}

TEST(EventCodec, HoldsTheBoundOfTheHeaders) {
  Event event;
  std::size_t used = 0;
  for (const auto& [name, value] : to_headers(event)) used += name.size() + value.size();
  event.source.assign(kEventHeaderBytesMax - used, 's');
  EXPECT_TRUE(check_event_size(event));
  EXPECT_TRUE(decode_event(encode_event(event)));

  event.source += 's';
  EXPECT_EQ(check_event_size(event).error().code, Errc::too_large);
  EXPECT_EQ(decode_event(encode_event(event)).error().code, Errc::too_large);
  EXPECT_EQ(from_headers(to_headers(event), "").error().code, Errc::too_large);
}

TEST(EventCodec, HoldsTheBoundOfTheExtensions) {
  Event event;
  for (int i = 0; i < 128; ++i) event.extensions.emplace_back("x" + std::to_string(i), "");
  EXPECT_TRUE(check_event_size(event));
  EXPECT_TRUE(decode_event(encode_event(event)));
  event.extensions.emplace_back("y", "");
  EXPECT_EQ(check_event_size(event).error().code, Errc::too_large);
  EXPECT_EQ(decode_event(encode_event(event)).error().code, Errc::too_large);
}

TEST(EventCodec, KnowsWhichExtensionNamesAreFree) {
  for (const std::string name : {"a", "traceparent", "x1", "partitionkey"})
    EXPECT_TRUE(is_extension_name(name)) << name;
  for (const std::string name : {"", "Upper", "with-dash", "with_line", "id", "source", "specversion", "type",
                                 "subject", "time", "datacontenttype", "dataschema", "millracehops", "millrace"}) {
    EXPECT_FALSE(is_extension_name(name)) << name;
  }
  EXPECT_TRUE(is_extension_name(std::string(40, 'a')));
  EXPECT_FALSE(is_extension_name(std::string(41, 'a')));
}

}  // namespace
}  // namespace millrace
