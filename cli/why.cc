#include "cli/why.h"

#include <CLI/CLI.hpp>
#include <vector>

#include "cli/exit_codes.h"
#include "cli/groups.h"
#include "cli/text.h"
#include "core/units.h"

namespace millrace::cli {
namespace {

constexpr std::size_t kOutputsShown = 3;
constexpr std::size_t kDepthMax = 64;  // of what the server sends

struct WhyOptions {
  std::string id;
};

std::string link_text(const Json& link, bool colours) {
  const std::string outcome = printable(link.string_or("outcome", ""));
  std::string text = printable(link.string_or("function", "")) + " " +
                     (colours ? painted(outcome, tone_of(outcome)) : outcome) + " " +
                     printable(link.string_or("run_id", ""));
  const std::string input = link.string_or("input", "");
  if (!input.empty()) text += "  " + printable(input);
  std::vector<std::string> names;
  if (const Json* outputs = link.find("outputs")) {
    for (const auto& output : outputs->items()) {
      if (const std::string* name = output.string()) names.push_back(printable(*name));
    }
  }
  if (!names.empty()) text += " -> " + some_of(names, kOutputsShown);
  const auto retries = link.uint_or("failures", 0) + link.uint_or("losses", 0);
  if (retries > 0) {
    text += "  [" + counted(link.uint_or("failures", 0), "failure") + ", " + std::to_string(link.uint_or("losses", 0)) +
            " lost]";
  }
  const std::string reason = text_of(link, "reason");
  if (!reason.empty()) text += "  (" + printable(reason) + ")";
  const std::string unplaced = unplaced_text(link);
  if (!unplaced.empty()) text += "  (" + printable(unplaced) + ")";
  return text;
}

// The attempts of a run that did not succeed, each on a line of its own.
void append_attempts(std::string& text, const Json& run, const std::string& indent) {
  const Json* attempts = run.find("attempts");
  if (attempts == nullptr) return;
  for (const auto& attempt : attempts->items()) {
    const std::string message = text_of(attempt, "message");
    text += indent + "attempt " + std::to_string(attempt.uint_or("attempt", 0)) + " " +
            printable(attempt.string_or("outcome", "")) + (message.empty() ? "" : ": " + printable(message)) + "  (" +
            printable(text_of(attempt, "node")) + ", " + printable(attempt.string_or("started_at", "")) + ")\n";
  }
}

void append_link(std::string& text, const Json& link, const std::string& indent, std::size_t depth, bool colours) {
  text += link_text(link, colours) + "\n";
  const Json* children = link.find("children");
  const bool leaf = children == nullptr || children->items().empty() || depth >= kDepthMax;
  append_attempts(text, link, indent + (leaf ? "   " : "│  "));
  if (leaf) return;
  const auto& items = children->items();
  for (std::size_t i = 0; i < items.size(); ++i) {
    const bool last = i + 1 == items.size();
    text += indent + (last ? "└─ " : "├─ ");
    append_link(text, items[i], indent + (last ? "   " : "│  "), depth + 1, colours);
  }
}

std::string doing_text(const Json& doing) {
  std::string text = "attempt " + std::to_string(doing.uint_or("attempt", 0)) + " on " +
                     printable(text_of(doing, "node")) + " since " + printable(doing.string_or("since", ""));
  const Json* limits = doing.find("limits");
  if (limits == nullptr) return text;
  return text + ", at most until " + printable(doing.string_or("ends_by", "")) + "; memory " +
         format_bytes(limits->uint_or("memory_bytes", 0)) + ", cpu " +
         format_millicores(static_cast<std::uint32_t>(limits->uint_or("cpu_millicores", 0)));
}

void append_live(std::string& text, const Json& run, bool colours) {
  const std::string state = printable(run.string_or("state", ""));
  text += printable(run.string_or("function", "")) + " " + (colours ? painted(state, tone_of(state)) : state) + " " +
          printable(run.string_or("run_id", ""));
  const std::string key = text_of(run, "key");
  text += (key.empty() ? "" : "  " + printable(key)) + "\n";
  append_attempts(text, run, "   ");
  if (const Json* doing = run.find("doing")) text += "   " + doing_text(*doing) + "\n";
  const Json* reasons = run.find("waits_for");
  if (reasons == nullptr) return;
  for (const auto& reason : reasons->items()) {
    if (const std::string* what = reason.string()) text += "   waits for " + printable(*what) + "\n";
  }
}

Result<int> show_chain(Context& context, const WhyOptions& options) {
  const auto answer = context.client().get("/api/v1/why/" + encode_part(options.id));
  if (!answer) return fail(answer.error());
  if (context.json()) {
    context.print_json(*answer);
    return kOk;
  }
  if (const Json* chain = answer->find("chain")) context.print(chain_text(*chain, context.colours()));
  if (const Json* live = answer->find("live")) context.print(live_text(*live, context.colours()));
  if (answer->bool_or("truncated", false)) {
    Context::complain("the chain is longer; shown are the first " + counted(answer->uint_or("runs", 0), "run"));
  }
  return kOk;
}

}  // namespace

std::string chain_text(const Json& chain, bool colours) {
  std::string text;
  for (const auto& root : chain.items()) append_link(text, root, "", 0, colours);
  return text;
}

std::string live_text(const Json& live, bool colours) {
  std::string text;
  for (const auto& run : live.items()) append_live(text, run, colours);
  return text;
}

void add_why_command(Commands& commands) {
  auto [why, options] = add_command(
      commands, "why",
      "Shows what an event or a run came from and all that came of it, or what it is doing or waits for", show_chain);
  why.add_option("ID", options->id, "A run or an event")->required();
}

}  // namespace millrace::cli
