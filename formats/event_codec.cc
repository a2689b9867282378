#include "formats/event_codec.h"

#include <algorithm>
#include <array>
#include <bitset>
#include <charconv>
#include <cstdint>
#include <optional>

#include "formats/timestamp.h"

namespace millrace {
namespace {

constexpr std::string_view kPrefix = "ce-";
constexpr std::string_view kSpecVersion = "1.0";
constexpr std::size_t kExtensionNameMax = 40;
constexpr std::size_t kEventExtensionsMax = 128;

enum class Attribute : std::uint8_t {
  specversion,
  id,
  source,
  type,
  subject,
  time,
  content_type,
  event_id,
  order,
  hops,
  generation,
  cause,
  store,
  bucket,
  key,
  size,
  mtime,
  inode,
  private_path,
};

// By the value of Attribute; also the order in which they are written.
constexpr std::array<std::string_view, 19> kNames{
    "ce-specversion",
    "ce-id",
    "ce-source",
    "ce-type",
    "ce-subject",
    "ce-time",
    "content-type",
    "ce-millraceeventid",
    "ce-millraceorder",
    "ce-millracehops",
    "ce-millracegeneration",
    "ce-millracecause",
    "ce-millracestore",
    "ce-millracebucket",
    "ce-millracekey",
    "ce-millracesize",
    "ce-millracemtime",
    "ce-millraceinode",
    "ce-millraceprivatepath",
};
static_assert(static_cast<std::size_t>(Attribute::private_path) + 1 == kNames.size());

std::string_view name_of(Attribute attribute) {
  return kNames.at(static_cast<std::size_t>(attribute));
}

std::optional<Attribute> attribute_of(std::string_view header) {
  const auto* found = std::ranges::find(kNames, header);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Attribute>(found - kNames.begin());
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

std::string quoted(std::string_view name) {
  return "header '" + std::string(name.substr(0, 64)) + "'";
}

// Calls `take(name, value)` for every header of `event`. Both are views that end with the call.
template <class Take>
void for_each_header(const Event& event, Take take) {
  const auto text = [&take](Attribute attribute, std::string_view value) {
    if (!value.empty()) take(name_of(attribute), value);
  };
  const auto number = [&take](Attribute attribute, auto value) {
    std::array<char, 24> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
    if (value != 0) take(name_of(attribute), std::string_view(digits.data(), end));
  };

  take(name_of(Attribute::specversion), kSpecVersion);
  take(name_of(Attribute::id), std::string_view(event.source_id));
  take(name_of(Attribute::source), std::string_view(event.source));
  take(name_of(Attribute::type), std::string_view(event.type));
  text(Attribute::subject, event.subject);
  if (event.time.time_since_epoch().count() != 0) text(Attribute::time, format_timestamp_exact(event.time));
  text(Attribute::content_type, event.content_type);
  text(Attribute::event_id, event.id.str());
  text(Attribute::order, event.order.str());
  number(Attribute::hops, event.hops);
  number(Attribute::generation, event.generation);
  text(Attribute::cause, event.cause.str());
  if (event.object) {
    const ObjectRef& object = *event.object;
    if (object.store != ObjectRef{}.store) take(name_of(Attribute::store), std::string_view(object.store));
    take(name_of(Attribute::bucket), std::string_view(object.bucket));  // its presence says that there is an object
    text(Attribute::key, object.key);
    number(Attribute::size, object.version.size_bytes);
    number(Attribute::mtime, object.version.mtime_ns);
    number(Attribute::inode, object.version.inode);
    text(Attribute::private_path, object.private_path);
  }
  std::string header;
  for (const auto& [name, value] : event.extensions) {
    header = kPrefix;
    header += name;
    if (!attribute_of(header)) take(std::string_view(header), std::string_view(value));
  }
}

template <class Number>
Result<void> read_number(Attribute attribute, std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size()) return {};
  return fail(Errc::invalid_argument, quoted(name_of(attribute)) + " is not a whole number of its range: '" +
                                          std::string(text.substr(0, 32)) + "'");
}

Result<void> read_attribute(Attribute attribute, std::string value, Event& event, ObjectRef& object) {
  switch (attribute) {
    case Attribute::specversion:
      if (value == kSpecVersion) return {};
      return fail(Errc::invalid_argument, quoted(name_of(attribute)) + " must be 1.0, the only version there is");
    case Attribute::id: event.source_id = std::move(value); return {};
    case Attribute::source: event.source = std::move(value); return {};
    case Attribute::type: event.type = std::move(value); return {};
    case Attribute::subject: event.subject = std::move(value); return {};
    case Attribute::time: {
      const auto time = parse_timestamp(value);
      if (!time) return fail(time.error().with(quoted(name_of(attribute))));
      event.time = *time;
      return {};
    }
    case Attribute::content_type: event.content_type = std::move(value); return {};
    case Attribute::event_id: event.id = EventId(std::move(value)); return {};
    case Attribute::order: event.order = Order(std::move(value)); return {};
    case Attribute::hops: return read_number(attribute, value, event.hops);
    case Attribute::generation: return read_number(attribute, value, event.generation);
    case Attribute::cause: event.cause = RunId(std::move(value)); return {};
    case Attribute::store: object.store = std::move(value); return {};
    case Attribute::bucket: object.bucket = std::move(value); return {};
    case Attribute::key: object.key = std::move(value); return {};
    case Attribute::size: return read_number(attribute, value, object.version.size_bytes);
    case Attribute::mtime: return read_number(attribute, value, object.version.mtime_ns);
    case Attribute::inode: return read_number(attribute, value, object.version.inode);
    case Attribute::private_path: object.private_path = std::move(value); return {};
  }
  return fail(Errc::internal, "unknown attribute");
}

// Takes headers one by one and makes the event; finish() once.
class Builder {
 public:
  Result<void> add(std::string_view name, std::string value) {
    header_bytes_ += name.size() + value.size();
    if (header_bytes_ > kEventHeaderBytesMax) return headers_too_large();
    std::string header(name);
    std::ranges::transform(header, header.begin(), lower);
    const auto attribute = attribute_of(header);
    if (!attribute) return add_extension(header, std::move(value));
    const auto index = static_cast<std::size_t>(*attribute);
    if (seen_.test(index)) return fail(Errc::invalid_argument, quoted(header) + " is there twice");
    seen_.set(index);
    return read_attribute(*attribute, std::move(value), event_, object_);
  }

  Result<Event> finish(std::string data) {
    for (const auto attribute : {Attribute::specversion, Attribute::id, Attribute::source, Attribute::type}) {
      if (!has(attribute)) return fail(Errc::invalid_argument, quoted(name_of(attribute)) + " is missing");
    }
    if (has(Attribute::bucket)) {
      event_.object = std::move(object_);
    } else {
      for (const auto attribute : {Attribute::store, Attribute::key, Attribute::size, Attribute::mtime,
                                   Attribute::inode, Attribute::private_path}) {
        if (!has(attribute)) continue;
        return fail(Errc::invalid_argument,
                    quoted(name_of(Attribute::bucket)) + " is missing beside " + std::string(name_of(attribute)));
      }
    }
    if (data.size() > kEventBytesMax) return data_too_large(data.size());
    event_.data = std::move(data);
    return std::move(event_);
  }

  static std::unexpected<Error> headers_too_large() {
    return fail(Errc::too_large,
                "the attributes of an event have more than " + std::to_string(kEventHeaderBytesMax) + " bytes");
  }

  static std::unexpected<Error> data_too_large(std::size_t size) {
    return fail(Errc::too_large, "the data of an event has " + std::to_string(size) + " bytes, at most " +
                                     std::to_string(kEventBytesMax) + " are carried; larger data belongs in a bucket");
  }

 private:
  [[nodiscard]] bool has(Attribute attribute) const { return seen_.test(static_cast<std::size_t>(attribute)); }

  Result<void> add_extension(std::string_view header, std::string value) {
    if (!header.starts_with(kPrefix)) return {};
    const std::string_view name = header.substr(kPrefix.size());
    if (std::ranges::any_of(event_.extensions, [name](const auto& known) { return known.first == name; })) {
      return fail(Errc::invalid_argument, quoted(header) + " is there twice");
    }
    if (event_.extensions.size() >= kEventExtensionsMax) {
      return fail(Errc::too_large, "an event has more than " + std::to_string(kEventExtensionsMax) + " extensions");
    }
    event_.extensions.emplace_back(name, std::move(value));
    return {};
  }

  Event event_;
  ObjectRef object_;
  std::bitset<kNames.size()> seen_;
  std::size_t header_bytes_ = 0;
};

constexpr std::size_t kLengthBytes = 4;

std::array<char, kLengthBytes> length_bytes(std::size_t length) {
  std::array<char, kLengthBytes> bytes{};
  for (std::size_t i = 0; i < kLengthBytes; ++i) bytes[i] = static_cast<char>(length >> (8 * i) & 0xff);
  return bytes;
}

void append_length(std::string& out, std::size_t length) {
  out.append(length_bytes(length).data(), kLengthBytes);
}

// Reads the block of encode_event from its front.
class BlockReader {
 public:
  explicit BlockReader(std::string_view bytes) : bytes_(bytes) {}

  Result<std::size_t> length(std::string_view what) {
    if (bytes_.size() - offset_ < kLengthBytes) return cut_off(what);
    std::size_t length = 0;
    for (std::size_t i = 0; i < kLengthBytes; ++i) {
      length |= static_cast<std::size_t>(static_cast<unsigned char>(bytes_[offset_ + i])) << (8 * i);
    }
    offset_ += kLengthBytes;
    return length;
  }

  Result<std::string_view> field(std::string_view what) {
    const auto size = length(what);
    if (!size) return fail(size.error());
    if (bytes_.size() - offset_ < *size) return cut_off(what);
    const auto field = bytes_.substr(offset_, *size);
    offset_ += *size;
    return field;
  }

  [[nodiscard]] std::size_t left() const { return bytes_.size() - offset_; }

 private:
  [[nodiscard]] std::unexpected<Error> cut_off(std::string_view what) const {
    return fail(Errc::invalid_argument, "an event of " + std::to_string(bytes_.size()) + " bytes is cut off in " +
                                            std::string(what) + " at byte " + std::to_string(offset_));
  }

  std::string_view bytes_;
  std::size_t offset_ = 0;
};

}  // namespace

Headers to_headers(const Event& event) {
  Headers headers;
  for_each_header(event,
                  [&headers](std::string_view name, std::string_view value) { headers.emplace_back(name, value); });
  return headers;
}

Result<Event> from_headers(const Headers& headers, std::string data) {
  Builder builder;
  for (const auto& [name, value] : headers) {
    if (const auto added = builder.add(name, value); !added) return fail(added.error());
  }
  return builder.finish(std::move(data));
}

std::string encode_event(const Event& event) {
  std::string out;
  out.reserve(event.data.size() + 512);
  append_event(out, event);
  return out;
}

void append_event(std::string& out, const Event& event) {
  const std::size_t start = out.size();
  append_length(out, 0);  // the count, known at the end
  std::size_t count = 0;
  for_each_header(event, [&out, &count](std::string_view name, std::string_view value) {
    append_length(out, name.size());
    out += name;
    append_length(out, value.size());
    out += value;
    ++count;
  });
  out.replace(start, kLengthBytes, length_bytes(count).data(), kLengthBytes);
  append_length(out, event.data.size());
  out += event.data;
}

Result<Event> decode_event(std::string_view bytes) {
  BlockReader in(bytes);
  const auto count = in.length("the number of headers");
  if (!count) return fail(count.error());
  Builder builder;
  for (std::size_t i = 0; i < *count; ++i) {
    const auto name = in.field("a header's name");
    if (!name) return fail(name.error());
    const auto value = in.field("a header's value");
    if (!value) return fail(value.error());
    if (name->size() + value->size() > kEventHeaderBytesMax) return Builder::headers_too_large();
    if (const auto added = builder.add(*name, std::string(*value)); !added) return fail(added.error());
  }
  const auto data = in.field("the data");
  if (!data) return fail(data.error());
  if (in.left() != 0) {
    return fail(Errc::invalid_argument, "an event is followed by " + std::to_string(in.left()) + " foreign bytes");
  }
  if (data->size() > kEventBytesMax) return Builder::data_too_large(data->size());
  return builder.finish(std::string(*data));
}

Result<void> check_event_size(const Event& event) {
  std::size_t header_bytes = 0;
  for_each_header(event, [&header_bytes](std::string_view name, std::string_view value) {
    header_bytes += name.size() + value.size();
  });
  if (header_bytes > kEventHeaderBytesMax) return Builder::headers_too_large();
  if (event.extensions.size() > kEventExtensionsMax) {
    return fail(Errc::too_large, "an event has more than " + std::to_string(kEventExtensionsMax) + " extensions");
  }
  if (event.data.size() > kEventBytesMax) return Builder::data_too_large(event.data.size());
  return {};
}

bool is_extension_name(std::string_view name) {
  if (name.empty() || name.size() > kExtensionNameMax || name.starts_with("millrace")) return false;
  if (name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") != std::string_view::npos) return false;
  constexpr std::array<std::string_view, 2> kUnused{"datacontenttype", "dataschema"};  // CloudEvents' other attributes
  return !attribute_of(std::string(kPrefix) + std::string(name)) && std::ranges::find(kUnused, name) == kUnused.end();
}

}  // namespace millrace
