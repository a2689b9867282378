#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>

#include "cli/exit_codes.h"
#include "cli/groups.h"
#include "cli/text.h"
#include "formats/timestamp.h"

namespace millrace::cli {
namespace {

constexpr std::size_t kPageMax = 1'000;
constexpr std::size_t kPathsShown = 2;

struct ListOptions {
  std::string place;
  bool buckets = false;
  std::size_t limit = 1'000;
};

std::string paths(const Json& function, std::string_view key) {
  const Json* list = function.find(key);
  std::vector<std::string> all;
  if (list != nullptr) {
    for (const auto& item : list->items()) all.push_back(item.string_or("path", ""));
  }
  return all.empty() ? "-" : some_of(all, kPathsShown);
}

Result<int> list_functions(Context& context) {
  const auto answer = context.client().get("/api/v1/functions");
  if (!answer) return fail(answer.error());
  if (context.json()) {
    context.print_json(*answer);
    return kOk;
  }
  Table table({{"FUNCTION"},
               {"REVISION", Align::right},
               {"IMAGE"},
               {"INPUT"},
               {"OUTPUT"},
               {"MEMORY", Align::right},
               {"CPU", Align::right},
               {"TIMEOUT", Align::right}});
  if (const Json* functions = answer->find("functions")) {
    for (const auto& function : functions->items()) {
      table.add({function.string_or("name", ""), std::to_string(function.uint_or("revision", 0)),
                 function.string_or("image", ""), paths(function, "input"), paths(function, "output"),
                 function.string_or("memory", ""), function.string_or("cpu", ""), function.string_or("timeout", "")});
      Context::pass_on_warnings(function);
    }
  }
  context.print_table(table);
  if (table.empty()) Context::complain("no functions yet: apply some");
  return kOk;
}

Result<int> list_buckets(Context& context) {
  const auto answer = context.client().get("/api/v1/buckets");
  if (!answer) return fail(answer.error());
  if (context.json()) {
    context.print_json(*answer);
    return kOk;
  }
  if (const Json* buckets = answer->find("buckets")) {
    for (const auto& bucket : buckets->items()) context.print(printable(bucket.string_or("name", "")) + "\n");
  }
  return kOk;
}

// Page by page up to the limit; `truncated`: there are more.
struct Objects {
  Json list = Json::array();
  bool truncated = false;
};

Result<Objects> fetch_objects(Context& context, const ObjectName& place, std::size_t limit) {
  Objects found;
  std::string after;
  const std::string base = "/api/v1/buckets/" + encode_part(place.bucket) + "/objects?prefix=" + encode_part(place.key);
  while (found.list.items().size() < limit) {
    const std::size_t page = std::min(kPageMax, limit - found.list.items().size());
    const auto answer = context.client().get(base + "&limit=" + std::to_string(page) +
                                             (after.empty() ? "" : "&after=" + encode_part(after)));
    if (!answer) return fail(answer.error());
    const Json* objects = answer->find("objects");
    found.truncated = answer->bool_or("truncated", false);
    if (objects == nullptr || objects->items().empty()) break;
    for (const auto& object : objects->items()) found.list.append(object);
    after = text_of(objects->items().back(), "key");
    if (!found.truncated) break;
  }
  return found;
}

std::string modified(const Json& object) {
  const auto since_epoch = std::chrono::nanoseconds(object.int_or("mtime_ns", 0));
  using Clock = std::chrono::system_clock;
  return format_timestamp(Clock::time_point(std::chrono::duration_cast<Clock::duration>(since_epoch)));
}

Result<int> list_objects(Context& context, const ListOptions& options) {
  const auto place = parse_object_name(options.place);
  if (!place) return fail(place.error());
  auto found = fetch_objects(context, *place, options.limit);
  if (!found) return fail(found.error());
  if (context.json()) {
    context.print_json(Json::object({{"objects", std::move(found->list)}, {"truncated", found->truncated}}));
    return kOk;
  }
  Table table({{"SIZE", Align::right}, {"MODIFIED"}, {"KEY"}});
  for (const auto& object : found->list.items()) {
    table.add({human_bytes(object.uint_or("size", 0)), modified(object), text_of(object, "key")});
  }
  context.print_table(table);
  if (found->truncated)
    Context::complain("there are more; say --limit N for more than " + std::to_string(options.limit));
  return kOk;
}

Result<int> list(Context& context, const ListOptions& options) {
  if (options.buckets) return list_buckets(context);
  return options.place.empty() ? list_functions(context) : list_objects(context, options);
}

}  // namespace

void add_list_command(Commands& commands) {
  auto [ls, options] = add_command(commands, "ls", "Lists functions, or the objects of a bucket", list);
  auto* const place = ls.add_option("PLACE", options->place, "BUCKET or BUCKET/PREFIX; without it the functions");
  ls.add_flag("--buckets", options->buckets, "List the buckets")->excludes(place);
  ls.add_option("--limit", options->limit, "At most so many objects")->check(CLI::Range(1, 10'000'000))->type_name("N");
}

}  // namespace millrace::cli
