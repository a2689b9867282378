#include "tests/sim/storm/storm.h"

#include <algorithm>
#include <utility>

#include "formats/identity.h"

namespace millrace::storm {
namespace {

using namespace std::chrono_literals;

constexpr int kInputsMin = 8;
constexpr int kInputsMore = 9;
constexpr auto kBadFor = 150s;
constexpr auto kJumpMax = 1h;
constexpr auto kRestWithin = 4h;  // the sweeper may wait until a clock that was ahead is caught up with
// Longer than any pause and any run: with two nodes, younger attempts may be somebody's.
constexpr auto kSweepAge = 15min;
constexpr auto kSweepEvery = 30s;

constexpr std::size_t kExecutionsMax = 2'000;  // far above what any seed needs

FunctionSpec with(FunctionSpec spec, std::uint32_t cpu, std::uint32_t concurrency) {
  spec.cpu_millicores = cpu;
  spec.concurrency = concurrency;
  spec.retries = 3;
  spec.retry_base = 200ms;
  spec.retry_cap = 5s;
  spec.infrastructure_retry_for = 30min;  // no trouble lasts so long, whatever the clocks say
  spec.max_losses = 60;                   // nobody else's trouble may end an event
  return spec;
}

}  // namespace

Node::Node(std::shared_ptr<Life> one_life, BrokerShore& shore, StateStore& real_state, FakeStorage& storage,
           Workshop& workshop, const std::string& name, std::uint64_t seed, bool alone)
    : life(std::move(one_life)),
      broker(life, shore),
      state(life, real_state),
      objects(life, storage),
      outputs(life, storage),
      functions(life, workshop, storage, {.memory_bytes = 1ULL << 30, .cpu_millicores = 4000}),
      engine(life->loop, {broker, state, objects, outputs, functions},
             {.memory_bytes = 1ULL << 30, .cpu_millicores = 4000}, name, seed),
      sweeper(life->loop, state, outputs, engine.finish, engine.runs, name,
              {.every = kSweepEvery, .age_min = kSweepAge, .alone = alone}, engine.log),
      handler(life->loop, engine.admission, engine.invoker, engine.finish, state, engine.runs, {.seed = seed},
              engine.log),
      workers(life->loop, broker, engine.admission, handler, engine.log),
      group(life->loop) {
  engine.invoker.on_left([this](AttemptPlace place) { sweeper.left(std::move(place)); });
  engine.registry.observe(workers);
}

Storm::Storm(std::uint64_t seed, StormOptions options)
    : seed_(seed),
      loop_(seed),
      sky_(loop_, seed * 7919 + 1, options.shown),
      storage_(loop_),
      state_(make_memory_state(loop_)),
      broken_state_(options.break_state ? options.break_state(*state_) : nullptr),
      real_broker_(make_memory_broker({}, loop_, metrics_)),
      shore_(sky_, *real_broker_),
      nodes_(seed % 3 == 0 ? 2 : 1),
      lives_(nodes_.size()),
      script_(loop_) {
  workshop_.kill = [this](Life& life) { loop_.post([this, doomed = &life] { crash(*doomed); }); };
}

Storm::~Storm() {
  for (auto& node : nodes_) {
    if (node) node->life->loop.kill();
    node.reset();
  }
}

void Storm::start_node(std::size_t index) {
  const std::string name = "node-" + std::to_string(index + 1);
  const int life = ++lives_[index];
  auto one_life = std::make_shared<Life>(sky_, name + "." + std::to_string(life));
  sky_.trace.note(one_life->name + " starts");
  nodes_[index] =
      std::make_unique<Node>(one_life, shore_, store(), storage_, workshop_, name,
                             seed_ * 100 + index * 50 + static_cast<std::uint64_t>(life), nodes_.size() == 1);
  nodes_[index]->group.spawn(begin_node(*nodes_[index]));
}

// As the daemon does.
Task<void> Storm::begin_node(Node& node) {
  const auto started = node.life->loop.wall_now();
  co_await node.sweeper.drop_own_attempts();
  const auto loaded = co_await node.engine.registry.load();
  if (!loaded) shore_.violation(node.life->name + " cannot load: " + loaded.error().message);
  co_await node.sweeper.sweep_own_past(started);
  node.ready = true;
  co_await node.sweeper.run(node.group.stop_token());
}

Task<void> Storm::define_functions(Node& node) {
  std::vector<FunctionSpec> specs;
  specs.push_back(with(NodeEngine::function("first", "in", "middle"), 1000, 0));
  specs.push_back(with(NodeEngine::function("second", "middle", "out"), 1500, 0));
  specs.push_back(with(NodeEngine::function("narrow", "in", "out-narrow"), 500, 2));
  specs.push_back(with(NodeEngine::function("large", "large", "out-large"), 9000, 0));
  auto fragile = with(NodeEngine::function("fragile", "poison", "out-poison"), 1000, 0);
  fragile.max_losses = 3;
  specs.push_back(std::move(fragile));
  const auto applied = co_await node.engine.registry.apply(std::move(specs));
  if (!applied) {
    shore_.violation("the functions cannot be applied: " + applied.error().message);
    co_return;
  }
  for (const auto& each : *applied) {
    uids_[each.function->name] = each.function->uid;
    sky_.uids[work_topic(each.function->name)] = each.function->uid;
  }
}

void Storm::crash(Life& life) {
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i] && nodes_[i]->life.get() == &life) crash(i);
  }
}

void Storm::crash(std::size_t index) {
  if (!nodes_[index]) return;
  ++crashes_;
  const auto life = nodes_[index]->life;
  sky_.trace.note(life->name + " dies");
  life->dead = true;
  life->loop.kill();
  nodes_[index].reset();
  life->ended.request_stop();
  // Nothing of the dead process reaches a store after the next one has opened it.
  script_.spawn([](Storm& storm, std::size_t which, std::shared_ptr<Life> dead) -> Task<void> {
    const auto pause = 10ms + storm.sky_.dice.up_to(20s);
    for (auto slept = co_await sleep_for(storm.loop_, pause); dead->on_the_way > 0;) {
      slept = co_await sleep_for(storm.loop_, 10ms);
    }
    if (storm.sky_.dice.chance(500)) storm.shore_.give_back_orphans();
    if (!storm.nodes_[which]) storm.start_node(which);
  }(*this, index, life));
}

Task<void> Storm::bad_luck() {
  auto& dice = sky_.dice;
  const bool alone = nodes_.size() == 1;
  while (!over_) {
    const auto slept = co_await sleep_for(loop_, dice.up_to(30s));
    if (!slept || over_) co_return;
    const std::size_t index = dice.below(nodes_.size());
    if (!nodes_[index]) continue;
    const auto life = nodes_[index]->life;
    switch (dice.below(5)) {
      case 0: crash(index); break;
      case 1:
      case 2: {
        sky_.trace.note(life->name + " stands still");
        life->loop.pause();
        const auto still = co_await sleep_for(loop_, dice.up_to(90s));
        (void)still;
        sky_.trace.note(life->name + " goes on");
        life->loop.resume();
        break;
      }
      default: {
        // Alone, any clock will do. Two nodes' clocks are about the same, as their sweepers demand.
        const auto most = alone ? std::chrono::milliseconds(kJumpMax) : std::chrono::milliseconds(30s);
        const auto off = dice.up_to(most) * (dice.chance(500) ? 1 : -1);
        sky_.trace.note(life->name + " has a clock that is off by " + std::to_string(off.count()) + " ms");
        life->loop.set_wall_clock(off);
        break;
      }
    }
  }
}

Task<void> Storm::change_weather() {
  auto& dice = sky_.dice;
  while (!over_) {
    sky_.weather = {};
    if (dice.chance(700)) {
      sky_.weather.lost_request = static_cast<std::uint32_t>(dice.below(150));
      sky_.weather.lost_answer = static_cast<std::uint32_t>(dice.below(150));
      sky_.weather.twice = static_cast<std::uint32_t>(dice.below(100));
      sky_.weather.slow = static_cast<std::uint32_t>(dice.below(200));
      sky_.weather.slow_max = dice.chance(200) ? 15s : 500ms;
    }
    sky_.trace.note("the weather changes");
    const auto slept = co_await sleep_for(loop_, 1s + dice.up_to(30s));
    if (!slept) co_return;
  }
}

Node* Storm::any_node() {
  std::vector<Node*> up;
  for (const auto& node : nodes_) {
    if (node && node->ready && !node->life->loop.paused()) up.push_back(node.get());
  }
  return up.empty() ? nullptr : up[sky_.dice.below(up.size())];
}

Task<void> Storm::put_inputs() {
  const auto count = static_cast<std::size_t>(kInputsMin) + sky_.dice.below(kInputsMore);
  inputs_.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    auto kind = static_cast<Kind>(sky_.dice.below(static_cast<std::uint64_t>(Kind::count)));
    if (kind == Kind::poison && sky_.dice.chance(700)) kind = Kind::fine;
    Input& input = inputs_[i];
    input.bucket = kind == Kind::poison ? "poison" : sky_.dice.chance(150) ? "large" : "in";
    input.key = key_of(kind, static_cast<int>(i));
    input.object = storage_.put(input.bucket, input.key);
    script_.spawn(tell(i));
    if (kind == Kind::gone || kind == Kind::cancelled) script_.spawn(meddle(i));
    const auto slept = co_await sleep_for(loop_, sky_.dice.up_to(10s));
    if (!slept) co_return;
  }
}

Task<void> Storm::tell(std::size_t input) {
  while (!inputs_[input].accepted) {
    if (Node* node = any_node()) {
      const OneShot<bool> told(loop_);
      const auto timer = loop_.start_timer(20s, [told] { told.set(false); });
      node->group.spawn(tell_once(*node, inputs_[input].object, told));
      inputs_[input].accepted = co_await told.wait();
    }
    if (inputs_[input].accepted) sky_.trace.note("accepted " + inputs_[input].key);
    const auto slept = co_await sleep_for(loop_, 100ms + sky_.dice.up_to(3s));
    if (!slept) co_return;
  }
}

Task<void> Storm::tell_once(Node& node, ObjectRef object, OneShot<bool> told) {
  const auto accepted = co_await node.engine.ingest.object_created(std::move(object));
  told.set(accepted.has_value());
}

Task<void> Storm::meddle(std::size_t input) {
  const auto slept = co_await sleep_for(loop_, sky_.dice.up_to(30s));
  if (!slept) co_return;
  const Input& told = inputs_[input];
  if (kind_of(told.key) == Kind::gone) {
    storage_.take_away(told.bucket, told.key);
    co_return;
  }
  for (const auto& node : nodes_) {
    if (!node) continue;
    for (const auto& [function, uid] : uids_) {
      (void)node->engine.runs.cancel(make_run_id(uid, object_event_id(told.object), 0));
    }
  }
}

void Storm::clear_sky() {
  over_ = true;
  sky_.weather = {};
  sky_.trace.note("the sky clears");
}

// What is left to do; empty when nothing is.
std::string Storm::unrest() {
  for (const auto& input : inputs_) {
    if (!input.accepted) return input.key + " is not accepted";
  }
  for (const auto& node : nodes_) {
    if (!node || !node->ready || node->life->loop.paused()) return "a node is down";
    if (node->engine.runs.active_count() > 0) return "a run is active";
  }
  for (const auto& [function, uid] : uids_) {
    const auto lag = wait(real_broker_->lag(work_topic(function), std::string(kWorkersGroup)));
    if (lag->open() > 0) return std::to_string(lag->open()) + " messages wait for " + function;
  }
  const auto late = loop_.wall_now() + 24h * 365;
  if (!wait(store().runs().unfinished(late, {}, 1))->empty()) return "a row misses a mark";
  if (!wait(store().runs().open_attempts(late, {}, 1))->empty()) return "an attempt is open";
  if (!wait(store().runs().stale_directories(1))->empty()) return "a directory is not removed";
  if (!storage_.attempt_paths().empty()) return *storage_.attempt_paths().begin() + " is left";
  return {};
}

Outcome Storm::run() {
  start_node(0);
  loop_.run_for(100ms);
  script_.spawn(define_functions(*nodes_[0]));
  loop_.run_for(1s);
  for (std::size_t i = 1; i < nodes_.size(); ++i) start_node(i);
  loop_.run_for(1s);
  script_.spawn(put_inputs());
  script_.spawn(change_weather());
  script_.spawn(bad_luck());
  loop_.run_for(kBadFor);
  clear_sky();
  const auto end = loop_.now() + kRestWithin;
  // A pause or a restart may still be on.
  loop_.run_for(5min);
  while (!unrest().empty() && loop_.now() < end && workshop_.executions.size() < kExecutionsMax) loop_.run_for(1min);

  Outcome outcome;
  outcome.violations = shore_.violations();
  outcome.violations.insert(outcome.violations.end(), workshop_.violations.begin(), workshop_.violations.end());
  if (const auto left = unrest(); !left.empty()) outcome.violations.push_back("it does not come to rest: " + left);
  check(outcome);
  outcome.trace_hash = sky_.trace.hash();
  outcome.executions = workshop_.executions.size();
  outcome.crashes = crashes_;
  return outcome;
}

}  // namespace millrace::storm
