#include "runtime/launcher/protocol.h"

#include <algorithm>
#include <concepts>
#include <limits>
#include <type_traits>
#include <utility>

// Layout: one byte message type, then the fields in the order of fields() below, integers little endian, bool and
// enumerators one byte, text as u16 length and bytes. One function per message visits its fields for both directions,
// so that writer and reader cannot disagree.

namespace millrace::launcher {
namespace {

constexpr std::size_t kReasonBytesMax = kTextBytesMax;

class Writer {
 public:
  template <std::unsigned_integral T>
  void number(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      bytes_.push_back(static_cast<char>(static_cast<unsigned char>((std::uint64_t{value} >> (8 * i)) & 0xff)));
    }
  }
  void number(std::int32_t value) { number(static_cast<std::uint32_t>(value)); }
  void boolean(bool value) { number(static_cast<std::uint8_t>(value ? 1 : 0)); }

  template <class E>
  void enumerator(E value, E last) {
    if (value > last) ok_ = false;
    number(static_cast<std::uint8_t>(value));
  }
  void text(const std::string& value, std::size_t bytes_max) {
    static_assert(kProgramInlineBytesMax <= std::numeric_limits<std::uint16_t>::max());
    if (value.size() > bytes_max) {
      ok_ = false;
      return;
    }
    number(static_cast<std::uint16_t>(value.size()));
    bytes_ += value;
  }
  template <class T>
  void list(const std::vector<T>& items, std::size_t items_max, auto&& visit) {
    if (items.size() > items_max) {
      ok_ = false;
      return;
    }
    number(static_cast<std::uint16_t>(items.size()));
    for (const T& item : items) visit(item);
  }
  void check(bool holds) { ok_ = ok_ && holds; }

  [[nodiscard]] bool ok() const { return ok_ && bytes_.size() <= kDatagramBytesMax; }
  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
  bool ok_ = true;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  template <std::unsigned_integral T>
  void number(T& value) {
    value = 0;
    if (bytes_.size() < sizeof(T)) {
      ok_ = false;
      bytes_ = {};
      return;
    }
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      sum |= std::uint64_t{static_cast<unsigned char>(bytes_[i])} << (8 * i);
    }
    value = static_cast<T>(sum);
    bytes_.remove_prefix(sizeof(T));
  }
  void number(std::int32_t& value) {
    std::uint32_t raw = 0;
    number(raw);
    value = static_cast<std::int32_t>(raw);
  }
  void boolean(bool& value) {
    std::uint8_t raw = 0;
    number(raw);
    if (raw > 1) ok_ = false;
    value = raw == 1;
  }
  template <class E>
  void enumerator(E& value, E last) {
    std::uint8_t raw = 0;
    number(raw);
    if (raw > static_cast<std::uint8_t>(last)) {
      ok_ = false;
      raw = 0;
    }
    value = static_cast<E>(raw);
  }
  void text(std::string& value, std::size_t bytes_max) {
    std::uint16_t size = 0;
    number(size);
    if (size > bytes_max || size > bytes_.size()) {
      ok_ = false;
      bytes_ = {};
      return;
    }
    value.assign(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
  }
  template <class T>
  void list(std::vector<T>& items, std::size_t items_max, auto&& visit) {
    std::uint16_t count = 0;
    number(count);
    if (count > items_max) {
      ok_ = false;
      return;
    }
    for (std::uint16_t i = 0; i < count && ok_; ++i) visit(items.emplace_back());
  }
  void check(bool holds) { ok_ = ok_ && holds; }

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool finished() const { return ok_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

bool is_path_component(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos;
}

bool is_clean(const std::string& text) {
  return text.find('\0') == std::string::npos;
}

// Each message's fields. `M` is const for the writer and mutable for the reader.
template <class M, class T>
concept Is = std::same_as<std::remove_const_t<M>, T>;

void fields(auto& io, Is<Hello> auto& m) {
  io.number(m.version);
  io.boolean(m.privileged);
  for (auto& control : m.controls) {
    io.enumerator(control.support, Support::missing);
    io.text(control.reason, kReasonBytesMax);
  }
  io.list(m.runtimes, kRuntimesMax, [&io](auto& name) { io.text(name, kRuntimeNameBytesMax); });
  io.text(m.no_runtimes, kReasonBytesMax);
}
void fields(auto& io, Is<Prepared> auto& m) {
  io.number(m.template_id);
  io.enumerator(m.files, FileAccess::daemon_uid);
}
void fields(auto& io, Is<PrepareFailed> auto& m) {
  io.number(m.template_id);
  io.enumerator(m.step, kLastStep);
  io.number(m.error);
  io.text(m.text, kTextBytesMax);
}
void fields(auto& io, Is<Started> auto& m) {
  io.number(m.run);
  io.number(m.exec_us);
}
void fields(auto& io, Is<SpawnFailed> auto& m) {
  io.number(m.run);
  io.enumerator(m.step, kLastStep);
  io.number(m.error);
  io.text(m.text, kTextBytesMax);
}
void fields(auto& io, Is<Usage> auto& m) {
  io.number(m.cpu_us);
  io.number(m.memory_peak_bytes);
  io.number(m.rss_peak_bytes);
  io.number(m.io_read_bytes);
  io.number(m.io_write_bytes);
  io.number(m.throttled_us);
  io.number(m.start_us);
  io.number(m.wall_us);
}
void fields(auto& io, Is<Exited> auto& m) {
  io.number(m.run);
  io.enumerator(m.how, Ending::lost);
  io.number(m.value);
  io.boolean(m.out_of_memory);
  fields(io, m.usage);
}
void fields(auto& io, Is<Quiet> auto& m) {
  io.number(m.request);
  io.enumerator(m.state, Quietness::unsupported);
}
void fields(auto& io, Is<Sampled> auto& m) {
  io.number(m.run);
  io.boolean(m.known);
  fields(io, m.usage);
}
void fields(auto& io, Is<SpareGone> auto& m) {
  io.number(m.spare);
}
void fields(auto& io, Is<Prepare> auto& m) {
  io.number(m.template_id);
  io.enumerator(m.kind, Kind::oci);
  io.enumerator(m.network, Network::outbound);
  io.boolean(m.script);
  io.boolean(m.probe_directory);
  io.enumerator(m.profile, Profile::compat);
  io.enumerator(m.image, Image::directory_copy);
  io.boolean(m.provided);
  io.text(m.runtime, kRuntimeNameBytesMax);
}
void fields(auto& io, Is<Drop> auto& m) {
  io.number(m.template_id);
}
void fields(auto& io, Is<Limits> auto& m) {
  io.number(m.memory_bytes);
  io.number(m.cpu_weight_millicores);
  io.number(m.cpu_quota_millicores);
  io.number(m.pids);
  io.number(m.open_files);
  io.number(m.file_bytes);
  io.number(m.scratch_bytes);
  io.number(m.scratch_inodes);
}
void fields(auto& io, Is<Spawn> auto& m) {
  io.number(m.run);
  io.number(m.template_id);
  fields(io, m.limits);
  io.text(m.hostname, kHostnameBytesMax);
  io.check(is_clean(m.hostname));
  io.text(m.working_directory, kPathBytesMax);
  io.check(is_clean(m.working_directory) && (m.working_directory.empty() || m.working_directory.front() == '/'));
  io.text(m.program, kProgramInlineBytesMax);
  io.boolean(m.output);
  io.list(m.inputs, kInputsMax, [&io](auto& input) {
    io.text(input.name, kNameBytesMax);
    io.check(is_path_component(input.name));
    io.enumerator(input.mode, InputMode::copy);
  });
}
void fields(auto& io, Is<Kill> auto& m) {
  io.number(m.run);
  io.enumerator(m.signal, KillSignal::kill);
}
void fields(auto& io, Is<CheckQuiet> auto& m) {
  io.number(m.request);
}
void fields(auto& io, Is<Sample> auto& m) {
  io.number(m.run);
}
void fields(auto& io, Is<MakeSpare> auto& m) {
  io.number(m.spare);
  fields(io, m.limits);
}
void fields(auto& io, Is<EndSpare> auto& m) {
  io.number(m.spare);
}

template <class Variant>
Result<std::string> encode_variant(const Variant& message) {
  Writer writer;
  writer.number(static_cast<std::uint8_t>(message.index()));
  std::visit([&writer](const auto& m) { fields(writer, m); }, message);
  if (!writer.ok()) {
    return fail(Errc::invalid_argument, "launcher protocol: a field of message type " +
                                            std::to_string(message.index()) + " is over its bound or malformed");
  }
  return writer.take();
}

template <class Variant, std::size_t... kIndex>
Variant make_alternative(std::size_t index, std::index_sequence<kIndex...>) {
  Variant made;
  ((kIndex == index ? static_cast<void>(made.template emplace<kIndex>()) : static_cast<void>(0)), ...);
  return made;
}

template <class Variant>
Result<Variant> decode_variant(std::string_view datagram) {
  if (datagram.size() > kDatagramBytesMax) {
    return fail(Errc::invalid_argument, "launcher protocol: a datagram of " + std::to_string(datagram.size()) +
                                            " bytes, at most " + std::to_string(kDatagramBytesMax) + " are allowed");
  }
  Reader reader(datagram);
  std::uint8_t type = 0;
  reader.number(type);
  if (!reader.ok() || type >= std::variant_size_v<Variant>) {
    return fail(Errc::invalid_argument, "launcher protocol: unknown message type");
  }
  auto message = make_alternative<Variant>(type, std::make_index_sequence<std::variant_size_v<Variant>>{});
  std::visit([&reader](auto& m) { fields(reader, m); }, message);
  if (!reader.finished()) {
    return fail(Errc::invalid_argument,
                "launcher protocol: malformed message of type " + std::to_string(type) + " (" +
                    (reader.ok() ? "surplus bytes at the end" : "a field is cut off or over its bound") + ")");
  }
  return message;
}

}  // namespace

std::string_view name_of(Step step) {
  static constexpr std::array<std::string_view, kSteps> kNames{
      "request",     "resources",     "cgroup",         "clone",
      "attach",      "network",       "proc",           "scratch",
      "input",       "output",        "rlimit",         "hostname",
      "descriptors", "identity",      "seccomp",        "working_directory",
      "exec",        "template_died", "user_namespace", "root_file_system",
      "script",      "image",         "provided",       "copy_on_write",
      "runtime"};
  const auto index = static_cast<std::size_t>(step);
  return index < kNames.size() ? kNames.at(index) : "unknown";
}

Result<std::string> encode(const Request& request) {
  return encode_variant(request);
}
Result<std::string> encode(const Answer& answer) {
  return encode_variant(answer);
}
Result<Request> decode_request(std::string_view datagram) {
  return decode_variant<Request>(datagram);
}
Result<Answer> decode_answer(std::string_view datagram) {
  return decode_variant<Answer>(datagram);
}

std::size_t descriptors_of(const Request& request) {
  if (const auto* prepare = std::get_if<Prepare>(&request)) {
    return std::size_t{prepare->script} + std::size_t{prepare->image != Image::host} + std::size_t{prepare->provided} +
           std::size_t{prepare->probe_directory};
  }
  if (const auto* spawn = std::get_if<Spawn>(&request)) {
    return 3 + std::size_t{spawn->program.empty()} + std::size_t{spawn->output} + spawn->inputs.size();
  }
  return std::holds_alternative<CheckQuiet>(request) ? 1 : 0;
}

Result<std::string> pack_program(const std::vector<std::string>& argv, const std::vector<std::string>& environment) {
  if (argv.empty() || argv.front().empty()) {
    return fail(Errc::invalid_argument, "program: the command is empty, expected at least the name of a program");
  }
  if (argv.size() + environment.size() > kProgramStringsMax) {
    return fail(Errc::invalid_argument,
                "program: more than " + std::to_string(kProgramStringsMax) + " arguments and environment variables");
  }
  Writer writer;
  writer.number(static_cast<std::uint32_t>(argv.size()));
  writer.number(static_cast<std::uint32_t>(environment.size()));
  std::string packed = writer.take();
  for (const auto* strings : {&argv, &environment}) {
    for (const std::string& text : *strings) {
      if (!is_clean(text)) return fail(Errc::invalid_argument, "program: an argument or variable holds a NUL byte");
      if (text.size() >= kProgramBytesMax - packed.size()) {
        return fail(Errc::too_large, "program: arguments and environment exceed " + std::to_string(kProgramBytesMax) +
                                         " bytes; pass large data as an input file");
      }
      packed.append(text.c_str(), text.size() + 1);
    }
  }
  return packed;
}

Result<Program> unpack_program(std::string_view packed) {
  const auto malformed = [](const char* what) { return fail(Errc::invalid_argument, std::string("program: ") + what); };
  if (packed.size() > kProgramBytesMax) return malformed("too long");
  Reader reader(packed);
  std::uint32_t arguments = 0;
  std::uint32_t variables = 0;
  reader.number(arguments);
  reader.number(variables);
  if (!reader.ok() || arguments == 0 || arguments > kProgramStringsMax || variables > kProgramStringsMax - arguments) {
    return malformed("wrong counts");
  }
  packed.remove_prefix(2 * sizeof(std::uint32_t));
  Program program;
  program.argv.reserve(arguments + 1);
  program.environment.reserve(variables + 1);
  for (std::uint32_t i = 0; i < arguments + variables; ++i) {
    const auto end = packed.find('\0');
    if (end == std::string_view::npos) return malformed("a string without its end");
    (i < arguments ? program.argv : program.environment).push_back(packed.data());
    packed.remove_prefix(end + 1);
  }
  if (!packed.empty()) return malformed("surplus bytes");
  if (program.argv.front()[0] == '\0') return malformed("an empty command");
  program.argv.push_back(nullptr);
  program.environment.push_back(nullptr);
  return program;
}

}  // namespace millrace::launcher
