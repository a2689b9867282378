#include "cli/why.h"

#include <CLI/CLI.hpp>
#include <vector>

#include "cli/exit_codes.h"
#include "cli/groups.h"
#include "cli/text.h"

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
  return text;
}

void append_link(std::string& text, const Json& link, const std::string& indent, std::size_t depth, bool colours) {
  text += link_text(link, colours) + "\n";
  const Json* children = link.find("children");
  if (children == nullptr || depth >= kDepthMax) return;
  const auto& items = children->items();
  for (std::size_t i = 0; i < items.size(); ++i) {
    const bool last = i + 1 == items.size();
    text += indent + (last ? "└─ " : "├─ ");
    append_link(text, items[i], indent + (last ? "   " : "│  "), depth + 1, colours);
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

void add_why_command(Commands& commands) {
  auto [why, options] =
      add_command(commands, "why", "Shows what an event or a run came from, and all that came of it", show_chain);
  why.add_option("ID", options->id, "A run or an event")->required();
}

}  // namespace millrace::cli
