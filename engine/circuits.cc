#include "engine/circuits.h"

#include <algorithm>
#include <utility>

namespace millrace {
namespace {

// Functions and stores whose last errors are remembered; beyond it some begin their count anew.
constexpr std::size_t kCircuitsMax = 10'000;

std::set<std::string> stores_of(const FunctionSpec& function) {
  std::set<std::string> stores;
  for (const auto& input : function.inputs) stores.insert(input.storage.provider);
  for (const auto& output : function.outputs) stores.insert(output.storage.provider);
  return stores;
}

}  // namespace

bool CircuitBreaker::failed(EventLoop::TimePoint now) {
  if (open_ && !std::exchange(probe_out_, false)) return false;  // it was on its way before
  ++errors_;
  if (errors_ < options_.errors) return false;
  rest_ = open_ ? std::min(rest_ * 2, options_.rest_cap) : options_.rest_base;
  next_probe_ = now + rest_;
  return !std::exchange(open_, true);
}

bool CircuitBreaker::worked() {
  errors_ = 0;
  probe_out_ = false;
  return std::exchange(open_, false);
}

void CircuitBreaker::probing(EventLoop::TimePoint now) {
  probe_out_ = true;
  next_probe_ = now + rest_;
}

void Circuits::trouble(const std::string& function, const Error& error) {
  fail_in(functions_, "function", function, options_.function, error);
}

void Circuits::store_trouble(const std::string& store, const Error& error) {
  fail_in(stores_, "store", store, options_.store, error);
}

void Circuits::fail_in(ByName& circuits, const char* kind, const std::string& name, CircuitBreaker::Options options,
                       const Error& error) {
  if (circuits.size() >= kCircuitsMax && !circuits.contains(name)) {
    const auto closed = std::ranges::find_if(circuits, [](const auto& one) { return !one.second.breaker.open(); });
    if (closed == circuits.end()) return;
    circuits.erase(closed);
  }
  Circuit& circuit =
      circuits.try_emplace(name, Circuit{.breaker = CircuitBreaker(options), .reason = {}}).first->second;
  circuit.reason = error.message;
  if (!circuit.breaker.failed(loop_.now())) return;
  metrics_
      .gauge("millrace_circuit_open", "1 while nothing is asked for after errors in a row",
             {{"kind", kind}, {"name", name}})
      .set(1);
  metrics_
      .counter("millrace_circuits_opened_total", "times errors in a row made a function or a store rest",
               {{"kind", kind}})
      .add();
  log_.warn("resting after errors in a row", {{kind, name}, {"error", error}});
}

void Circuits::went_well(const FunctionSpec& function) {
  close_in(functions_, "function", function.name);
  if (stores_.empty()) return;
  for (const auto& store : stores_of(function)) close_in(stores_, "store", store);
}

void Circuits::close_in(ByName& circuits, const char* kind, const std::string& name) {
  const auto found = circuits.find(name);
  if (found == circuits.end()) return;
  const bool closed = found->second.breaker.worked();
  circuits.erase(found);
  if (!closed) return;
  metrics_
      .gauge("millrace_circuit_open", "1 while nothing is asked for after errors in a row",
             {{"kind", kind}, {"name", name}})
      .set(0);
  log_.info("working again", {{kind, name}});
  changed_();
}

template <class Visit>
void Circuits::each_open(const FunctionSpec& function, Visit visit) const {
  const auto look = [&visit](const ByName& circuits, const std::string& name, const std::string& what) {
    const auto found = circuits.find(name);
    if (found != circuits.end() && found->second.breaker.open()) visit(found->second, what);
  };
  look(functions_, function.name, "function");
  if (stores_.empty()) return;
  for (const auto& store : stores_of(function)) look(stores_, store, "store " + store);
}

Circuits::Leave Circuits::leave(const FunctionSpec& function) const {
  Leave leave = Leave::any;
  each_open(function, [&](const Circuit& circuit, const std::string&) {
    leave = std::min(leave, circuit.breaker.probe_due(loop_.now()) ? Leave::one : Leave::none);
  });
  return leave;
}

void Circuits::probing(const FunctionSpec& function) {
  const auto now = loop_.now();
  const auto mark = [now](ByName& circuits, const std::string& name) {
    const auto found = circuits.find(name);
    if (found != circuits.end() && found->second.breaker.open()) found->second.breaker.probing(now);
  };
  mark(functions_, function.name);
  for (const auto& store : stores_of(function)) mark(stores_, store);
}

std::optional<Circuits::Resting> Circuits::resting(const FunctionSpec& function) const {
  std::optional<Resting> resting;
  each_open(function, [&](const Circuit& circuit, const std::string& what) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(circuit.breaker.next_probe() - loop_.now());
    const auto next_try = std::max(left, std::chrono::milliseconds(0));
    if (!resting || next_try > resting->next_try) {
      resting = Resting{.what = what, .reason = circuit.reason, .next_try = next_try};
    }
  });
  return resting;
}

void Circuits::forget(const std::string& function) {
  close_in(functions_, "function", function);
}

}  // namespace millrace
