#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <utility>

#include "cli/exit_codes.h"
#include "cli/files.h"
#include "cli/groups.h"
#include "cli/progress.h"
#include "cli/text.h"

namespace millrace::cli {
namespace {

constexpr std::size_t kAnswerBytesMax = 1 << 20;

struct PutOptions {
  std::vector<std::string> places;  // files, then where to
  bool make_bucket = false;
};

struct GetOptions {
  std::string object;
  std::string target = "-";
};

std::string object_path(const ObjectName& name) {
  return "/api/v1/buckets/" + encode_part(name.bucket) + "/objects/" + encode_key(name.key);
}

// The key that `file` gets: a folder ("" or "a/") takes the file's name.
Result<ObjectName> key_for(const ObjectName& target, const std::string& file, bool several) {
  ObjectName name = target;
  const bool folder = name.key.empty() || name.key.ends_with('/');
  if (!folder && !several) return name;
  if (!folder) {
    return fail(Errc::invalid_argument, "several files need a folder to go to; expected BUCKET or BUCKET/FOLDER/");
  }
  if (file == "-") return fail(Errc::invalid_argument, "standard input has no name; expected BUCKET/KEY");
  name.key += base_name(file);
  return name;
}

std::string started(const Json& answer) {
  const Json* runs = answer.find("runs");
  if (runs == nullptr || runs->items().empty()) return "";
  std::string text = ", started";
  for (const auto& run : runs->items()) {
    text += " " + run.string_or("function", "") + " (run " + run.string_or("run_id", "") + ")";
  }
  return text;
}

Result<Json> put_file(Context& context, const std::string& file, const ObjectName& name) {
  const auto source = open_source(file);
  if (!source) return fail(source.error());
  Progress progress(printable(name.key));
  HttpClientRequest request = request_for("PUT", object_path(name));
  request.headers.add("Content-Type", "application/octet-stream");
  request.body_file = {.fd = source->fd.get(), .offset = 0, .bytes = source->size_bytes};
  request.on_progress = [&progress, total = source->size_bytes](const HttpProgress& so_far) {
    progress.update(so_far.sent_bytes, total);
  };
  const auto response = context.client().send(std::move(request));
  if (!response) return fail(response.error());
  if (response->status != 201) return fail(error_of(*response));
  auto answer = parse_json(response->body, kAnswerBytesMax);
  if (!answer) return fail(answer.error().with("the server's answer"));
  return answer;
}

Result<int> put_files(Context& context, const PutOptions& options) {
  const auto target = parse_object_name(options.places.back());
  if (!target) return fail(target.error());
  if (options.make_bucket) {
    const auto made = context.client().send(request_for("PUT", "/api/v1/buckets/" + encode_part(target->bucket)));
    if (!made) return fail(made.error());
    if (made->status != 201) return fail(error_of(*made));
  }
  const bool several = options.places.size() > 2;
  Json stored = Json::array();
  for (std::size_t i = 0; i + 1 < options.places.size(); ++i) {
    const auto name = key_for(*target, options.places[i], several);
    if (!name) return fail(name.error());
    auto answer = put_file(context, options.places[i], *name);
    if (!answer) return fail(answer.error().with(options.places[i]));
    if (!context.json()) {
      context.print(printable(name->bucket + "/" + name->key) + ": " + human_bytes(answer->uint_or("size", 0)) +
                    printable(started(*answer)) + "\n");
    }
    stored.append(std::move(*answer));
  }
  if (context.json()) context.print_json(Json::object({{"objects", std::move(stored)}}));
  return kOk;
}

bool is_directory(const std::string& path) {
  struct stat facts{};
  return ::stat(path.c_str(), &facts) == 0 && S_ISDIR(facts.st_mode);
}

Result<int> get_object(Context& context, const GetOptions& options) {
  const auto name = parse_object_name(options.object);
  if (!name) return fail(name.error());
  if (name->key.empty())
    return fail(Errc::invalid_argument, "'" + options.object + "' names no object; expected BUCKET/KEY");
  HttpClientRequest request = request_for("GET", object_path(*name));
  if (options.target == "-") {
    request.response_fd = STDOUT_FILENO;
    const auto response = context.client().send(std::move(request));
    if (!response) return fail(response.error());
    if (response->status != 200) return fail(error_of(*response));
    return kOk;
  }
  const bool into_folder = options.target.ends_with('/') || is_directory(options.target);
  const std::string target =
      into_folder ? options.target + (options.target.ends_with('/') ? "" : "/") + std::string(base_name(name->key))
                  : options.target;
  auto file = NewFile::create(target);
  if (!file) return fail(file.error());
  Progress progress(printable(name->key));
  request.response_fd = file->fd();
  request.on_progress = [&progress](const HttpProgress& so_far) {
    progress.update(so_far.received_bytes, so_far.receive_total_bytes);
  };
  const auto response = context.client().send(std::move(request));
  if (!response) return fail(response.error());
  if (response->status != 200) return fail(error_of(*response));
  const auto kept = file->commit();
  if (!kept) return fail(kept.error());
  return kOk;
}

}  // namespace

void add_object_commands(Commands& commands) {
  auto [put, stored] = add_command(
      commands, "put", "Stores files in a bucket, which starts the functions that wait for them", put_files);
  put.add_option("PLACES", stored->places, "FILE... BUCKET/KEY: - is standard input, a key ending in / a folder")
      ->required()
      ->expected(2, -1);
  put.add_flag("--make-bucket", stored->make_bucket, "Make the bucket first where there is none");

  auto [get, fetched] = add_command(commands, "get", "Fetches an object", get_object);
  get.add_option("OBJECT", fetched->object, "BUCKET/KEY")->required();
  get.add_option("TARGET", fetched->target, "A file or directory; without it, or -, standard output");
  get.footer("A file appears whole or not at all.");
}

}  // namespace millrace::cli
