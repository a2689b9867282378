#include "formats/cloudevents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "formats/event_codec.h"
#include "formats/timestamp.h"

namespace millrace {
namespace {

using testing::HasSubstr;
using Pairs = std::vector<std::pair<std::string, std::string>>;

constexpr std::string_view kMinimal = R"({"specversion":"1.0","id":"1","source":"/s","type":"t")";

Result<Event> with(const std::string& members) {
  return event_from_structured(std::string(kMinimal) + (members.empty() ? "" : "," + members) + "}");
}

std::string problem(const Result<Event>& event) {
  return event ? "accepted" : event.error().message;
}

TEST(StructuredMode, ReadsEveryAttribute) {
  const auto event = event_from_structured(R"({
    "specversion": "1.0", "id": "A-1", "source": "/shop", "type": "order.made", "subject": "apples",
    "time": "2026-11-21T08:15:00.5+01:00", "datacontenttype": "application/json; charset=utf-8",
    "dataschema": "https://x/y", "tenant": "north", "urgent": true, "count": -7, "nothing": null,
    "data": {"n": 3, "of": ["a"]}})");
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_EQ(event->source_id, "A-1");
  EXPECT_EQ(event->source, "/shop");
  EXPECT_EQ(event->type, "order.made");
  EXPECT_EQ(event->subject, "apples");
  EXPECT_EQ(format_timestamp(event->time), "2026-11-21T07:15:00.500Z");
  EXPECT_EQ(event->content_type, "application/json; charset=utf-8");
  const Pairs extensions{{"dataschema", "https://x/y"}, {"tenant", "north"}, {"urgent", "true"}, {"count", "-7"}};
  EXPECT_EQ(event->extensions, extensions);
  EXPECT_EQ(event->data, R"({"n":3,"of":["a"]})");
  EXPECT_TRUE(event->id.empty()) << "made by whoever takes it in";
}

TEST(StructuredMode, DataIsWhatItsTypeSays) {
  EXPECT_EQ(with("")->data, "");
  EXPECT_EQ(with("")->content_type, "");
  EXPECT_EQ(with(R"("data":null)")->data, "");
  EXPECT_EQ(with(R"("data":"x")")->data, "\"x\"") << "without a type it is JSON";
  EXPECT_EQ(with(R"("data":"x")")->content_type, "application/json");
  EXPECT_EQ(with(R"("datacontenttype":"text/json","data":"x")")->data, "\"x\"");
  EXPECT_EQ(with(R"("datacontenttype":"application/geo+JSON","data":[1])")->data, "[1]");
  EXPECT_EQ(with(R"("datacontenttype":"text/plain","data":"x\n")")->data, "x\n");
  EXPECT_EQ(with(R"("datacontenttype":"text/plain","data":{"a":1})")->data, R"({"a":1})");
  EXPECT_EQ(with(R"("datacontenttype":"image/png","data_base64":"AAECAw==")")->data, std::string("\0\1\2\3", 4));
}

TEST(StructuredMode, NamesTheAttributeThatIsWrong) {
  EXPECT_EQ(problem(event_from_structured("[]")), "a CloudEvent must be an object, is an array");
  EXPECT_THAT(problem(event_from_structured("{")), HasSubstr("line 1"));
  EXPECT_EQ(problem(event_from_structured("{}")), "attribute 'specversion' is missing");
  EXPECT_EQ(problem(event_from_structured(R"({"specversion":"1.0","id":"1","source":"/s"})")),
            "attribute 'type' is missing or empty");
  EXPECT_EQ(problem(event_from_structured(R"({"specversion":"1.0","id":"","source":"/s","type":"t"})")),
            "attribute 'id' is missing or empty");
  EXPECT_EQ(problem(event_from_structured(R"({"specversion":"0.3","id":"1","source":"/s","type":"t"})")),
            "attribute 'specversion' must be 1.0, the only version there is");
  EXPECT_EQ(problem(event_from_structured(R"({"specversion":1.0,"id":"1","source":"/s","type":"t"})")),
            "attribute 'specversion' must be a text");
  EXPECT_EQ(problem(event_from_structured(R"({"specversion":"1.0","id":1,"source":"/s","type":"t"})")),
            "attribute 'id' must be a text");
  EXPECT_THAT(problem(with(R"("time":"now")")), HasSubstr("attribute 'time'"));
  EXPECT_EQ(problem(with(R"("subject":"a\nb")")), "attribute 'subject' holds a control character");
  EXPECT_EQ(problem(with(R"("Upper":"x")")), "attribute 'Upper' cannot be: a name is 1 to 40 of a-z and 0-9");
  EXPECT_EQ(problem(with(R"("a_b":"x")")), "attribute 'a_b' cannot be: a name is 1 to 40 of a-z and 0-9");
  EXPECT_EQ(problem(with("\"" + std::string(41, 'a') + R"(":"x")")),
            "attribute '" + std::string(41, 'a') + "' cannot be: a name is 1 to 40 of a-z and 0-9");
  EXPECT_EQ(problem(with(R"("millracecause":"x")")), "attribute 'millracecause' is ours: nobody else may set it");
  EXPECT_THAT(problem(with(R"("tenant":{"a":1})")), HasSubstr("attribute 'tenant' must be a text, true, false or"));
  EXPECT_THAT(problem(with(R"("tenant":1.5)")), HasSubstr("attribute 'tenant' must be"));
  EXPECT_THAT(problem(with(R"("tenant":2147483648)")), HasSubstr("attribute 'tenant' must be"));
  EXPECT_EQ(with(R"("tenant":-2147483648)")->extensions, (Pairs{{"tenant", "-2147483648"}}));
  EXPECT_EQ(problem(with(R"("data":1,"data_base64":"AA==")")), "attribute 'data_base64' is there beside data");
  EXPECT_EQ(problem(with(R"("data_base64":"no!")")), "attribute 'data_base64' is no base64");
  EXPECT_EQ(problem(with(R"("data_base64":7)")), "attribute 'data_base64' must be a text");
}

TEST(StructuredMode, HasTheBoundsOfAnEvent) {
  const auto data = [](std::size_t size) {
    return R"("datacontenttype":"text/plain","data":")" + std::string(size, 'x') + "\"";
  };
  EXPECT_TRUE(with(data(kEventBytesMax)));
  EXPECT_EQ(with(data(kEventBytesMax + 1)).error().code, Errc::too_large);
  EXPECT_EQ(with(R"("tenant":")" + std::string(kEventHeaderBytesMax, 'x') + "\"").error().code, Errc::too_large);
  EXPECT_EQ(event_from_structured(std::string(kStructuredBytesMax + 1, ' ')).error().code, Errc::too_large);
  std::string many = R"("a0":"")";
  for (int i = 1; i <= 128; ++i) many += ",\"a" + std::to_string(i) + "\":\"\"";
  EXPECT_EQ(with(many).error().code, Errc::too_large);
}

TEST(BatchedMode, ReadsThemInOrderAndSaysWhichIsWrong) {
  const std::string one = std::string(kMinimal) + "}";
  const auto two = events_from_batch("[" + one + "," + one + "]", 1 << 20);
  ASSERT_TRUE(two);
  EXPECT_EQ(two->size(), 2U);
  EXPECT_TRUE(events_from_batch("[]", 1 << 20)->empty());
  EXPECT_EQ(events_from_batch("[" + one + ",{}]", 1 << 20).error().message,
            "event 2: attribute 'specversion' is missing");
  EXPECT_EQ(events_from_batch(one, 1 << 20).error().message, "a batch must be an array of events, is an object");
  EXPECT_EQ(events_from_batch("[" + one + "]", 10).error().code, Errc::too_large);
  std::string many = "[" + one;
  for (std::size_t i = 1; i < kBatchEventsMax; ++i) many += "," + one;
  EXPECT_EQ(events_from_batch(many + "]", 1 << 20)->size(), kBatchEventsMax);
  EXPECT_EQ(events_from_batch(many + "," + one + "]", 1 << 20).error().code, Errc::too_large);
}

const Headers kBinary{{"CE-SpecVersion", "1.0"}, {"ce-id", "1"}, {"ce-source", "/s"}, {"Ce-Type", "t"}};

Headers and_more(Headers headers, Headers more) {
  for (auto& each : more) headers.push_back(std::move(each));
  return headers;
}

TEST(BinaryMode, TakesAttributesInAnyCaseAndPassesOthersOver) {
  const auto event = event_from_attributes(
      and_more(kBinary, {{"Content-Type", "text/plain"}, {"ce-tenant", "north"}, {"Accept", "*/*"}}), "data");
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_EQ(event->source_id, "1");
  EXPECT_EQ(event->type, "t");
  EXPECT_EQ(event->content_type, "text/plain");
  EXPECT_EQ(event->extensions, (Pairs{{"tenant", "north"}}));
  EXPECT_EQ(event->data, "data");
}

TEST(BinaryMode, NamesTheAttributeThatIsWrong) {
  const auto problem_of = [](Headers more) { return problem(event_from_attributes(and_more(kBinary, more), "")); };
  EXPECT_EQ(problem_of({{"ce-ID", "2"}}), "attribute 'id' is there twice");
  EXPECT_EQ(problem_of({{"ce-subject", ""}}), "attribute 'subject' is empty");
  EXPECT_EQ(problem_of({{"ce-datacontenttype", "a/b"}}),
            "attribute 'datacontenttype' is the header Content-Type in this mode");
  EXPECT_EQ(problem_of({{"ce-data", "x"}}), "accepted") << "a name like any other";
  EXPECT_EQ(problem_of({{"ce-millracehops", "0"}}), "attribute 'millracehops' is ours: nobody else may set it");
  EXPECT_EQ(problem_of({{"ce-subject", "\xff"}}), "attribute 'subject' is no valid UTF-8");
  EXPECT_EQ(problem(event_from_attributes({{"ce-specversion", "1.0"}, {"ce-id", "1"}, {"ce-type", "t"}}, "")),
            "attribute 'source' is missing or empty");
}

TEST(BinaryMode, WithoutAVersionItIsOpaqueDataWithWhatIsThere) {
  const auto event = event_from_attributes({{"content-type", "a/b"}, {"ce-id", "7"}, {"ce-tenant", "x"}}, "data");
  ASSERT_TRUE(event);
  EXPECT_EQ(event->source_id, "7");
  EXPECT_EQ(event->source, "");
  EXPECT_EQ(event->extensions, (Pairs{{"tenant", "x"}}));
  EXPECT_EQ(event->data, "data");
  EXPECT_FALSE(event_from_attributes({{"ce-millracehops", "0"}}, ""));
}

Event ours_of(std::string type, std::string data) {
  Event event;
  event.id = EventId("id-1");
  event.source = "/run/f";
  event.source_id = "r/0";
  event.type = "millrace.result";
  event.subject = "s\xc3\xa4\"quoted\"";
  event.time = *parse_timestamp("2026-11-21T08:15:00.123456789Z");
  event.content_type = std::move(type);
  event.order = Order("01ARZ3NDEKTSV4RRFFQ69G5FAV");
  event.hops = 3;
  event.cause = RunId("run-1");
  event.extensions = {{"tenant", "north"}, {"dataschema", "https://x/y"}};
  event.data = std::move(data);
  return event;
}

// As both are told in binary mode.
void expect_same(const Event& event, const Event& other) {
  EXPECT_EQ(to_headers(event), to_headers(other));
  EXPECT_EQ(event.data, other.data);
}

TEST(StructuredModeOfOurs, ComesBackAsItWas) {
  for (const auto& [type, data] :
       Pairs{{"text/plain", "two\nlines \"quoted\" \xc3\xa4"},
             {"text/plain", std::string("a\0b\x1f", 4)},
             {"text/plain", "no UTF-8: \xff"},
             {"text/plain", ""},
             {"", ""},
             {"", "of no type"},
             {"application/json", R"({"n":1.5,"of":["a",null]})"},
             {"application/json", "\"text\""},
             {"application/json", "null"},
             {"application/json", " "},
             {"application/json", "1,2"},
             {"application/json", "1],[2"},
             {"application/json", "{broken"},
             {"application/json", R"({"twice":1,"twice":2})"},
             {"application/json", std::string(kJsonDepthMax, '[') + std::string(kJsonDepthMax, ']')},
             {"image/png", std::string("\x89PNG\0\xff", 6)}}) {
    const Event event = ours_of(type, data);
    const auto document = to_structured(event);
    ASSERT_TRUE(document) << data;
    const auto back = own_event_from_structured(*document);
    ASSERT_TRUE(back) << back.error().message << *document;
    expect_same(*back, event);
  }
}

TEST(StructuredModeOfOurs, TellsWhereALargeResultLies) {
  Event event = ours_of("application/octet-stream", "");
  event.object = ObjectRef{.bucket = "b", .key = "two\nlines", .version = {1, 2, 3}, .private_path = "b/.millrace/x"};
  const auto back = own_event_from_structured(to_structured(event).value_or(""));
  ASSERT_TRUE(back) << back.error().message;
  expect_same(*back, event);
}

TEST(StructuredModeOfOurs, IsWhatAnyReaderOfCloudEventsUnderstands) {
  const auto json = parse_json(*to_structured(ours_of("application/json", R"({ "price": 1.50 })")), 1 << 20);
  ASSERT_TRUE(json) << json.error().message;
  EXPECT_EQ(json->string_or("specversion", ""), "1.0");
  EXPECT_EQ(json->string_or("id", ""), "r/0");
  EXPECT_EQ(json->string_or("source", ""), "/run/f");
  EXPECT_EQ(json->string_or("type", ""), "millrace.result");
  EXPECT_EQ(json->string_or("time", ""), "2026-11-21T08:15:00.123456789Z");
  EXPECT_EQ(json->string_or("datacontenttype", ""), "application/json");
  EXPECT_EQ(json->string_or("tenant", ""), "north");
  ASSERT_NE(json->find("data"), nullptr);
  EXPECT_EQ(json->find("data")->number_or("price", 0), 1.5);
  const auto text = parse_json(*to_structured(ours_of("text/plain", "plain")), 1 << 20);
  EXPECT_EQ(text->string_or("data", ""), "plain");
  const auto bytes = parse_json(*to_structured(ours_of("image/png", "\xff")), 1 << 20);
  EXPECT_EQ(bytes->string_or("data_base64", ""), "/w==");
}

TEST(StructuredModeOfOurs, IsNotThereForWhatJsonCannotSay) {
  Event event = ours_of("text/plain", "x");
  event.subject = "no UTF-8: \xff";
  EXPECT_FALSE(to_structured(event));
  event.subject = "two\nlines";
  EXPECT_FALSE(to_structured(event)) << "an attribute may have no control characters";
  event.subject = "";
  event.object = ObjectRef{.bucket = "b", .key = "\xff", .version = {}, .private_path = {}};
  EXPECT_FALSE(to_structured(event));
  event.object.reset();
  EXPECT_TRUE(to_structured(event));
  event.extensions.emplace_back("not_a_name", "x");
  EXPECT_FALSE(to_structured(event));
  event.extensions.clear();
  event.source.clear();
  EXPECT_FALSE(to_structured(event));
}

TEST(StructuredModeOfOurs, HoldsOurAttributesToTheirBounds) {
  const std::string begin = std::string(kMinimal) + ",";
  EXPECT_THAT(problem(own_event_from_structured(begin + R"("millracehops":"many"})")), HasSubstr("millracehops"));
  EXPECT_THAT(problem(own_event_from_structured(begin + R"("millracekey":"k"})")), HasSubstr("ce-millracebucket"));
  EXPECT_EQ(own_event_from_structured(begin + R"("millracehops":7})")->hops, 7U);
  EXPECT_THAT(problem(event_from_structured(begin + R"("millracehops":7})")), HasSubstr("is ours"));
}

}  // namespace
}  // namespace millrace
