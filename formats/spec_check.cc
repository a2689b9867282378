#include "formats/spec_check.h"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace {
namespace {

// One function feeds another through the path it writes, or the topic it publishes on.
struct Edge {
  std::size_t to = 0;
  std::string_view path;
  bool is_topic = false;
};
using Graph = std::vector<std::vector<Edge>>;

Graph feeding_graph(std::span<const FunctionSpec> functions) {
  using Place = std::pair<std::string_view, std::string_view>;  // provider, path
  std::map<Place, std::vector<std::size_t>> readers;
  std::map<std::string_view, std::vector<std::size_t>> topic_readers;
  for (std::size_t i = 0; i < functions.size(); ++i) {
    for (const auto& topic : functions[i].topics) topic_readers[topic.topic].push_back(i);
    for (const auto& input : functions[i].inputs) readers[{input.storage.provider, input.storage.path}].push_back(i);
  }
  Graph graph(functions.size());
  for (std::size_t i = 0; i < functions.size(); ++i) {
    if (functions[i].recursion_depth_max != 0) continue;  // its author has bounded every circle through it
    for (const auto& output : functions[i].topic_outputs) {
      const auto found = topic_readers.find(output.topic);
      if (found == topic_readers.end()) continue;
      for (const std::size_t reader : found->second) graph[i].push_back({reader, output.topic, true});
    }
    for (const auto& output : functions[i].outputs) {
      // The path itself and every folder above it.
      for (std::string_view path = output.storage.path; !path.empty();) {
        if (const auto found = readers.find({output.storage.provider, path}); found != readers.end()) {
          for (const std::size_t reader : found->second) graph[i].push_back({reader, output.storage.path});
        }
        const auto slash = path.rfind('/');
        path = path.substr(0, slash == std::string_view::npos ? 0 : slash);
      }
    }
  }
  return graph;
}

// Functions from which nothing leads on cannot be in a circle: what is left when they are taken away, again and again.
std::vector<bool> may_circle(const Graph& graph) {
  std::vector<std::vector<std::size_t>> feeders(graph.size());
  std::vector<std::size_t> open_edges(graph.size());
  std::deque<std::size_t> leaves;
  for (std::size_t i = 0; i < graph.size(); ++i) {
    for (const auto& edge : graph[i]) feeders[edge.to].push_back(i);
    open_edges[i] = graph[i].size();
    if (graph[i].empty()) leaves.push_back(i);
  }
  std::vector<bool> left(graph.size(), true);
  for (; !leaves.empty(); leaves.pop_front()) {
    left[leaves.front()] = false;
    for (const std::size_t feeder : feeders[leaves.front()]) {
      if (--open_edges[feeder] == 0) leaves.push_back(feeder);
    }
  }
  return left;
}

// The shortest way from `start` back to it, as the edges that are taken.
std::optional<std::vector<Edge>> shortest_circle(const Graph& graph, std::size_t start) {
  struct Step {
    std::size_t from;
    Edge edge;
  };
  std::vector<std::optional<Step>> reached(graph.size());
  std::deque<std::size_t> next{start};
  for (; !next.empty() && !reached[start]; next.pop_front()) {
    for (const auto& edge : graph[next.front()]) {
      if (reached[edge.to]) continue;
      reached[edge.to] = Step{.from = next.front(), .edge = edge};
      next.push_back(edge.to);
    }
  }
  if (!reached[start]) return std::nullopt;
  std::vector<Edge> circle;
  std::size_t at = start;
  do {
    circle.push_back(reached[at]->edge);
    at = reached[at]->from;
  } while (at != start);
  std::ranges::reverse(circle);
  return circle;
}

}  // namespace

Result<void> check_no_loops(std::span<const FunctionSpec> functions) {
  const Graph graph = feeding_graph(functions);
  const auto candidates = may_circle(graph);
  for (std::size_t i = 0; i < functions.size(); ++i) {
    if (!candidates[i]) continue;
    const auto circle = shortest_circle(graph, i);
    if (!circle) continue;
    std::string text = functions[i].name + ": ";
    for (const auto& edge : *circle) {
      if (&edge != &circle->front()) text += " -> ";
      text += (edge.is_topic ? "topic " : "") + std::string(edge.path) + " -> " + functions[edge.to].name;
    }
    return fail(Errc::invalid_argument,
                "results would start functions again without end (" + text +
                    "); write them outside the folders that are watched and publish them on another topic, or set "
                    "recursion.max_depth on one of these");
  }
  return {};
}

}  // namespace millrace
