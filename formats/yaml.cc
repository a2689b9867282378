#include "formats/yaml.h"

#include <yaml-cpp/anchor.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <exception>
#include <map>
#include <sstream>
#include <string>
#include <unordered_set>
#include <utility>

#include "formats/utf8.h"

namespace millrace {
namespace {

// While aliases are still being put in place, a scalar is a text that begins with one of these: what it means depends
// on where it ends up.
constexpr char kPlain = 'p';
constexpr char kText = 't';

// Ends the library's parsing from within an event; caught in parse_yaml.
struct Refused : std::exception {
  Refused(std::uint32_t at_line, std::string message) : line(at_line), text(std::move(message)) {}
  std::uint32_t line;
  std::string text;
};

std::uint32_t line_of(const YAML::Mark& mark) {
  return mark.line < 0 ? 0 : static_cast<std::uint32_t>(mark.line) + 1;
}

std::optional<Json> core_integer(std::string_view text) {
  int base = 10;
  std::string_view digits = text;
  if (text.starts_with("0x") || text.starts_with("0o")) {
    base = text[1] == 'x' ? 16 : 8;
    digits.remove_prefix(2);
    if (digits.starts_with('-')) return std::nullopt;
  } else if (digits.starts_with('+')) {
    digits.remove_prefix(1);
    if (digits.starts_with('-')) return std::nullopt;
  }
  const char* const end = digits.data() + digits.size();
  std::int64_t number = 0;
  if (const auto [stop, error] = std::from_chars(digits.data(), end, number, base);
      error == std::errc{} && stop == end) {
    return Json(number);
  }
  std::uint64_t large = 0;
  if (const auto [stop, error] = std::from_chars(digits.data(), end, large, base);
      error == std::errc{} && stop == end) {
    return Json(large);
  }
  return std::nullopt;
}

std::optional<Json> core_number(std::string_view text) {
  if (text.find_first_not_of("+-.0123456789eE") != std::string_view::npos) return std::nullopt;
  if (text.find_first_of("0123456789") == std::string_view::npos) return std::nullopt;
  if (text.starts_with("+-")) return std::nullopt;
  if (text.starts_with('+')) text.remove_prefix(1);
  double number = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || stop != text.data() + text.size() || !std::isfinite(number)) return std::nullopt;
  return Json(number);
}

// A plain scalar by YAML 1.2's core schema. Infinities and NaN, which JSON does not have, stay texts.
Json core_value(std::string_view text) {
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (auto integer = core_integer(text)) return std::move(*integer);
  if (auto number = core_number(text)) return std::move(*number);
  return text;
}

struct Size {
  std::size_t nodes = 1;
  std::size_t bytes = 0;
  std::size_t depth = 0;  // of containers

  void add(const Size& child) {
    nodes += child.nodes;
    bytes += child.bytes;
    depth = std::max(depth, child.depth);
  }
};

Size size_of(const Json& json) {
  Size size;
  if (const auto* text = json.string()) size.bytes = text->size();
  for (const auto& item : json.items()) size.add(size_of(item));
  for (const auto& member : json.members()) {
    size.add(size_of(member.value));
    size.bytes += member.key.size();
  }
  if (json.is_array() || json.is_object()) ++size.depth;
  return size;
}

// Builds a Json from the library's events; throws Refused.
class Builder final : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) throw Refused(line_of(mark), "a second document begins; expected one");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(mark, anchor, Json()); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool is_plain = check_tag(mark, tag);
    if (expects_key()) {
      open_.back().key_line = line_of(mark);
      open_.back().key = value;
      open_.back().is_merge = is_plain && value == "<<";
      charge(mark, {.nodes = 1, .bytes = value.size()});
      return;
    }
    add(mark, anchor, Json((is_plain ? kPlain : kText) + value));
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end())
      throw Refused(line_of(mark), "an alias stands inside of what it names, or names a key");
    if (open_.size() + found->second.size.depth > kJsonDepthMax) throw too_deep(mark);
    charge(mark, found->second.size);
    attach(mark, found->second.value);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Json::array());
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, Json::object());
  }
  void OnMapEnd() override {
    merge(open_.back());
    close();
  }

  [[nodiscard]] const Json& root() const { return root_; }

 private:
  struct Open {
    Json value;
    YAML::Mark mark;
    YAML::anchor_t anchor = 0;
    std::optional<std::string> key;  // of the member whose value comes next
    std::uint32_t key_line = 0;
    bool is_merge = false;
    std::vector<Json> merges;  // objects behind `<<`, in order
  };
  struct Anchored {
    Json value;
    Size size;
  };

  static Refused too_deep(const YAML::Mark& mark) {
    return {line_of(mark), "nested deeper than " + std::to_string(kJsonDepthMax) + " levels"};
  }

  // Whether the node is plain. Of explicit tags only those of the core schema mean something here.
  static bool check_tag(const YAML::Mark& mark, const std::string& tag) {
    constexpr std::string_view kCore = "tag:yaml.org,2002:";
    if (tag.empty() || tag == "?") return true;
    if (tag == "!") return false;
    const std::string_view name = tag.starts_with(kCore) ? std::string_view(tag).substr(kCore.size()) : "";
    for (const std::string_view known : {"str", "int", "float", "bool", "null", "seq", "map"}) {
      if (name == known) return name != "str";
    }
    throw Refused(line_of(mark), "the tag '" + tag.substr(0, 64) + "' is not supported");
  }

  [[nodiscard]] bool expects_key() const {
    return !open_.empty() && open_.back().value.is_object() && !open_.back().key;
  }

  void charge(const YAML::Mark& mark, const Size& size) {
    nodes_ += size.nodes;
    bytes_ += size.bytes;
    if (nodes_ <= kYamlNodesMax && bytes_ <= kYamlTextBytesMax) return;
    throw Refused(line_of(mark), "the document is too large: more than " + std::to_string(kYamlNodesMax) +
                                     " values or " + std::to_string(kYamlTextBytesMax) +
                                     " bytes of text, every alias counted as what it stands for");
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Json container) {
    (void)check_tag(mark, tag);
    if (expects_key()) throw Refused(line_of(mark), "the key of a map must be a text");
    if (open_.size() >= kJsonDepthMax) throw too_deep(mark);
    charge(mark, {});
    Open& opened = open_.emplace_back();
    opened.value = std::move(container);
    opened.value.set_line(line_of(mark));
    opened.mark = mark;
    opened.anchor = anchor;
  }

  void close() {
    Open done = std::move(open_.back());
    open_.pop_back();
    if (const auto twice = duplicate_key(done.value.members())) {
      std::uint32_t line = 0;
      for (const auto& member : done.value.members()) line = member.key == *twice ? member.line : line;
      throw Refused(line, "the key '" + std::string(twice->substr(0, 64)) + "' is there twice");
    }
    remember(done.mark, done.anchor, done.value);
    attach(done.mark, std::move(done.value));
  }

  void add(const YAML::Mark& mark, YAML::anchor_t anchor, Json value) {
    charge(mark, {.nodes = 1, .bytes = value.is_string() ? value.string()->size() : 0});
    value.set_line(line_of(mark));
    remember(mark, anchor, value);
    attach(mark, std::move(value));
  }

  void remember(const YAML::Mark& mark, YAML::anchor_t anchor, const Json& value) {
    if (anchor == 0) return;
    const Size size = size_of(value);
    charge(mark, size);  // the copy that is kept
    anchors_.insert_or_assign(anchor, Anchored{.value = value, .size = size});
  }

  void attach(const YAML::Mark& mark, Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return;
    }
    Open& parent = open_.back();
    if (parent.value.is_array()) {
      parent.value.append(std::move(value));
    } else if (!parent.key) {
      throw Refused(line_of(mark), "the key of a map must be a text");
    } else if (std::exchange(parent.is_merge, false)) {
      parent.key.reset();
      collect_merge(mark, std::move(value), parent.merges);
    } else {
      parent.value.append_member({.key = std::move(*parent.key), .value = std::move(value), .line = parent.key_line});
      parent.key.reset();
    }
  }

  static void collect_merge(const YAML::Mark& mark, Json value, std::vector<Json>& merges) {
    if (value.is_object()) {
      merges.push_back(std::move(value));
      return;
    }
    const bool is_list = value.is_array() && std::ranges::all_of(value.items(), &Json::is_object);
    if (!is_list) throw Refused(line_of(mark), "'<<' merges a map or a list of maps");
    merges.insert(merges.end(), value.items().begin(), value.items().end());
  }

  // Own keys win over merged ones, earlier maps over later ones.
  static void merge(Open& map) {
    if (map.merges.empty()) return;
    std::unordered_set<std::string> known;
    for (const auto& member : map.value.members()) known.insert(member.key);
    for (const auto& source : map.merges) {
      for (const auto& member : source.members()) {
        if (known.insert(member.key).second) map.value.append_member(member);
      }
    }
  }

  std::vector<Open> open_;  // from the outermost container to the innermost
  std::map<YAML::anchor_t, Anchored> anchors_;
  Json root_;
  std::size_t documents_ = 0;
  std::size_t nodes_ = 0;
  std::size_t bytes_ = 0;
};

// The document with its scalars as what they are.
Json resolved(const Json& json, const YamlOptions& options, bool verbatim) {
  Json out;
  if (const auto* text = json.string()) {
    const auto value = std::string_view(*text).substr(1);
    out = verbatim || text->front() == kText ? Json(value) : core_value(value);
  } else if (json.is_array()) {
    out = Json::array();
    for (const auto& item : json.items()) out.append(resolved(item, options, verbatim));
  } else if (json.is_object()) {
    out = Json::object();
    for (const auto& [key, value, line] : json.members()) {
      const bool below = verbatim || std::ranges::find(options.verbatim, key) != options.verbatim.end();
      out.append_member({.key = key, .value = resolved(value, options, below), .line = line});
    }
  }
  out.set_line(json.line());
  return out;
}

}  // namespace

std::optional<Json> parse_yaml(std::string_view text, const YamlOptions& options, Diagnostics& problems) {
  if (text.size() > kYamlBytesMax) {
    problems.add(0, "",
                 "the document has " + std::to_string(text.size()) + " bytes; at most " +
                     std::to_string(kYamlBytesMax) + " are accepted");
    return std::nullopt;
  }
  if (!is_utf8(text)) {
    problems.add(0, "", "the document is not valid UTF-8");
    return std::nullopt;
  }
  // JSON's strings are not quite YAML's (pairs of \u escapes), so what is JSON is read as JSON.
  if (const auto first = text.find_first_not_of(" \t\r\n"); first != std::string_view::npos && text[first] == '{') {
    if (auto json = parse_json(text, kYamlBytesMax)) return std::move(*json);
  }

  Builder builder;
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
    return resolved(builder.root(), options, false);
  } catch (const Refused& refused) {
    problems.add(refused.line, "", refused.text);
  } catch (const YAML::Exception& error) {
    problems.add(line_of(error.mark), "", "not valid YAML: " + error.msg);
  } catch (const std::exception& error) {
    problems.add(0, "", std::string("the YAML library failed: ") + error.what());
  }
  return std::nullopt;
}

}  // namespace millrace
