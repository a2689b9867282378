#include "engine/topic_outputs.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <utility>

#include "core/fail_point.h"
#include "engine/output_names.h"
#include "formats/identity.h"
#include "formats/media_type.h"

namespace millrace {
namespace {

// What is sent at once: bounded for those results of one run that are many.
constexpr std::size_t kBatchMessagesMax = 100;
constexpr std::size_t kBatchBytesMax = 4 << 20;

Result<std::string> read_all(int fd, const std::string& what) {
  std::string bytes;
  std::array<char, 64 << 10> buffer{};
  while (bytes.size() <= kEventBytesMax) {
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(error_from_errno(errno, "read " + what));
    if (got == 0) return bytes;
    bytes.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return fail(Errc::data_loss, what + " has grown since it was sealed");
}

ObjectRef private_copy(const OutputFile& output) {
  return {.bucket = output.bucket, .key = output.key, .version = output.version, .private_path = output.private_path};
}

}  // namespace

bool publishes_what_is_printed(const FunctionSpec& function, const Sealed& sealed) {
  return !function.topic_outputs.empty() && sealed.files.empty();
}

std::vector<OutputFile> name_events(const FunctionSpec& function, const Sealed& sealed, bool printed) {
  std::vector<OutputFile> events;
  for (const auto& output : function.topic_outputs) {
    OutputFile event;
    event.store = output.structured ? kStructuredTopicStore : kTopicStore;
    event.bucket = output.topic;
    if (sealed.files.empty() && printed) events.push_back(event);
    for (const auto& file : sealed.files) {
      if (!accepts(output.prefix, output.suffix, file.name)) continue;
      event.name = event.key = file.name;
      event.private_path = file.private_path;
      event.version = file.version;
      event.sha256 = file.sha256;
      events.push_back(event);
    }
  }
  return events;
}

bool has_files(const std::vector<OutputFile>& outputs) {
  return std::ranges::any_of(outputs, [](const OutputFile& output) { return !output.is_event(); });
}

bool has_private_copies(const std::vector<OutputFile>& outputs) {
  return std::ranges::any_of(outputs, [](const OutputFile& output) { return !output.private_path.empty(); });
}

Event result_event(const RunRecord& record, std::uint32_t index) {
  Event event;
  event.source = "/run/" + record.function;
  event.source_id = output_source_id(record.run_id, index);
  event.id = EventId(event.source_id);
  event.type = kResult;
  event.subject = record.outputs.at(index).key;
  event.time = record.committed_at;
  event.order = record.order;
  event.hops = record.hops + 1;
  event.cause = record.run_id;
  return event;
}

Task<Result<void>> TopicOutputs::publish(RunRecord record) {
  const auto needs_result = [](const OutputFile& output) { return output.is_event() && output.private_path.empty(); };
  if (record.result.empty() && std::ranges::any_of(record.outputs, needs_result)) {
    auto whole = co_await runs_.get(record.run_id);
    if (!whole) co_return fail(whole.error());
    if (!*whole) co_return fail(Errc::not_found, "the record of run " + record.run_id.str() + " is gone");
    record.result = std::move((*whole)->result);
  }
  Batch batch;
  for (std::uint32_t index = 0; index < record.outputs.size(); ++index) {
    if (!record.outputs[index].is_event()) continue;
    auto next = co_await message(record, index);
    if (!next) co_return fail(next.error());
    const std::string& topic = record.outputs[index].bucket;
    const std::size_t bytes = next->event.data.size();
    const bool full = batch.messages.size() >= kBatchMessagesMax || batch.bytes + bytes > kBatchBytesMax;
    if (!batch.messages.empty() && (full || batch.topic != topic)) {
      const auto sent = co_await send(std::exchange(batch, {}));
      if (!sent) co_return fail(sent.error());
    }
    batch.topic = topic;
    batch.bytes += bytes;
    batch.messages.push_back(std::move(*next));
  }
  if (batch.messages.empty()) co_return Result<void>{};
  auto sent = co_await send(std::move(batch));
  co_return sent;
}

Task<Result<Outgoing>> TopicOutputs::message(const RunRecord& record, std::uint32_t index) {
  const OutputFile& output = record.outputs[index];
  Event event = result_event(record, index);
  if (output.private_path.empty()) {
    event.data = record.result;
  } else if (output.version.size_bytes <= std::min(kEventBytesMax, topics_.message_bytes_max())) {
    auto data = co_await read(private_copy(output));
    if (!data) co_return fail(data.error());
    event.data = std::move(*data);
  } else {
    // Whoever can reach the store reads it there; functions find it as their input file.
    event.object = private_copy(output);
    event.extensions.emplace_back("dataref", "/" + event.object->store + "/" + output.private_path);
  }
  // What is not looked at may be anything, unless its name tells.
  event.content_type = guess_media_type(output.name, event.object ? std::string_view("\0", 1) : event.data);
  std::string id = event.id.str();
  co_return Outgoing{
      .id = std::move(id), .event = std::move(event), .structured = output.store == kStructuredTopicStore};
}

Task<Result<void>> TopicOutputs::send(Batch batch) {
  const std::string topic = batch.topic;
  const auto receipts = co_await topics_.publish(topic, std::move(batch.messages));
  std::optional<Error> trouble;
  for (const auto& receipt : receipts) {
    if (receipt) continue;
    trouble = trouble ? told_error(std::move(*trouble), receipt.error()) : receipt.error();
  }
  if (trouble) co_return fail(trouble->with("publish on topic '" + topic + "'"));
  MILLRACE_FAIL_POINT(after_publish_event);
  co_return Result<void>{};
}

Task<Result<std::string>> TopicOutputs::read(ObjectRef object) {
  const std::string what = "our copy of the result '" + object.key + "' at " + object.private_path;
  const ObjectVersion version = object.version;
  auto opened = co_await objects_.open(std::move(object));
  if (!opened) {
    const bool gone = opened.error().code == Errc::not_found || opened.error().code == Errc::failed_precondition;
    co_return gone ? fail(Errc::data_loss, what + " is gone") : fail(opened.error().with(what));
  }
  if (opened->version != version) co_return fail(Errc::data_loss, what + " was changed");
  auto bytes = co_await pool_.run(
      [fd = std::make_shared<Fd>(std::move(opened->fd)), what] { return read_all(fd->get(), what); });
  co_return bytes;
}

}  // namespace millrace
