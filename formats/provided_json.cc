#include "formats/provided_json.h"

#include <cstddef>
#include <optional>
#include <utility>

#include "core/provided_files.h"
#include "formats/base64.h"

namespace millrace {
namespace {

constexpr std::size_t kShownBytesMax = 64;

struct Bounds {
  std::size_t count_max = 0;
  std::size_t bytes_max = 0;  // of each
};

class ContentReader {
 public:
  ContentReader(ObjectReader& in, std::string_view field, const ReadScript& read_content)
      : in_(in), field_(field), read_content_(read_content) {}

  template <class WhyNotName>
  std::map<std::string, std::string> read(Bounds bounds, const WhyNotName& why_not_name) {
    std::map<std::string, std::string> contents;
    const Json* json = in_.find(field_);
    if (json == nullptr) return contents;
    if (!json->is_object()) {
      in_.problem(field_, "must be a map from names to contents");
      return contents;
    }
    if (json->members().size() > bounds.count_max) {
      in_.problem(field_, "has " + std::to_string(json->members().size()) + " entries; at most " +
                              std::to_string(bounds.count_max) + " are accepted");
      return contents;
    }
    for (const auto& [name, value, line] : json->members()) {
      line_ = line;
      name_ = name.substr(0, kShownBytesMax);
      if (const std::string why(why_not_name(name)); !why.empty()) {
        problem("'" + name_ + "' " + why);
        continue;
      }
      auto content = content_of(value, bounds.bytes_max);
      if (!content) continue;
      if (content->size() > bounds.bytes_max) {
        problem("has " + std::to_string(content->size()) + " bytes; at most " + std::to_string(bounds.bytes_max) +
                " are accepted");
        continue;
      }
      contents.emplace(name, std::move(*content));
    }
    return contents;
  }

 private:
  void problem(std::string text) { in_.problems().add(line_, in_.path_of(field_) + "." + name_, std::move(text)); }

  // Wrong values are not shown: they may be a secret in the wrong place.
  std::optional<std::string> content_of(const Json& value, std::size_t bytes_max) {
    if (const auto* text = value.string()) return *text;
    const bool one = value.is_object() && value.members().size() == 1;
    const std::string* argument = one ? value.members().front().value.string() : nullptr;
    if (argument != nullptr && value.members().front().key == "base64") return decoded(*argument, bytes_max);
    if (argument != nullptr && value.members().front().key == "file") return from_file(*argument);
    problem("must be a text, {base64: text} or {file: path}");
    return std::nullopt;
  }

  std::optional<std::string> decoded(const std::string& text, std::size_t bytes_max) {
    if (text.size() / 2 > bytes_max) {
      problem("is too large");
      return std::nullopt;
    }
    auto bytes = base64_decode(text);
    if (bytes) return std::move(*bytes);
    problem("is not valid base64");
    return std::nullopt;
  }

  std::optional<std::string> from_file(const std::string& path) {
    if (!read_content_) {
      problem("names a file; send its content (`millrace apply` does)");
      return std::nullopt;
    }
    auto bytes = read_content_(path);
    if (bytes) return std::move(*bytes);
    problem(bytes.error().with("cannot read the file '" + path.substr(0, kShownBytesMax) + "'").message);
    return std::nullopt;
  }

  ObjectReader& in_;
  std::string_view field_;
  const ReadScript& read_content_;
  std::uint32_t line_ = 0;
  std::string name_;
};

}  // namespace

std::map<std::string, std::string> read_secrets(ObjectReader& in, const ReadScript& read_content) {
  return ContentReader(in, "secrets", read_content)
      .read({.count_max = kSecretsMax, .bytes_max = kSecretBytesMax}, [](std::string_view name) -> std::string_view {
        if (is_secret_name(name)) return {};
        return "cannot be the name of a secret; expected 1 to 128 of letters, digits, '.', '_' and '-', not beginning "
               "with '.'";
      });
}

std::map<std::string, std::string> read_files(ObjectReader& in, const ReadScript& read_content) {
  auto files = ContentReader(in, "files", read_content)
                   .read({.count_max = kFilesMax, .bytes_max = kFileBytesMax}, why_no_file_path);
  std::size_t bytes = 0;
  for (const auto& [path, content] : files) bytes += content.size();
  if (bytes > kFilesBytesMax) {
    in.problem("files", "have " + std::to_string(bytes) + " bytes together; at most " + std::to_string(kFilesBytesMax) +
                            " are accepted");
  }
  // One file cannot be the folder of another. A path sorts right before what lies below it but for names between.
  for (const auto& [path, content] : files) {
    const auto below = files.lower_bound(path + "/");
    if (below != files.end() && below->first.starts_with(path + "/")) {
      in.problem("files", "'" + path.substr(0, kShownBytesMax) + "' is a file and the folder of another file");
    }
  }
  return files;
}

Json contents_json(const std::map<std::string, std::string>& contents) {
  Json json = Json::object();
  for (const auto& [name, content] : contents) json.set(name, raw_json(content));
  return json;
}

Json names_json(const std::map<std::string, std::string>& contents) {
  Json json = Json::array();
  for (const auto& [name, content] : contents) json.append(name);
  return json;
}

}  // namespace millrace
