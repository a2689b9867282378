#include "runtime/launcher/container_runs.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <utility>

#include "runtime/launcher/channel.h"
#include "runtime/launcher/first_process.h"
#include "runtime/launcher/passed_files.h"
#include "runtime/launcher/spare_sandbox.h"
#include "runtime/launcher/system.h"

namespace millrace::launcher {
namespace {

constexpr int kFirstTemplateDescriptor = 3;
constexpr int kAboveTemplateDescriptors = 64;
constexpr std::uint64_t kShortRunUs = 1000;  // so long a run that has just started may be about to end

// Leaves a new template with these descriptors and nothing else of the launcher.
void keep_descriptors(std::span<Fd* const> kept) {
  for (Fd* fd : kept) {
    const int high = ::fcntl(fd->release(), F_DUPFD, kAboveTemplateDescriptors);
    *fd = Fd(high);
  }
  int next = kFirstTemplateDescriptor;
  for (Fd* fd : kept) {
    if (!*fd) continue;
    ::dup3(fd->release(), next, O_CLOEXEC);
    *fd = Fd(next++);
  }
  ::close_range(static_cast<unsigned>(next), ~0U, 0);
}

}  // namespace

ContainerRuns::ContainerRuns(const LauncherOptions& options, ContainerSupport& support, PrivateNetworks& networks,
                             GroupDriver& groups, Answers& answers, MemoryWatch& memory, TemplateWatch& watch)
    : options_(options),
      support_(support),
      networks_(networks),
      groups_(groups),
      answers_(answers),
      memory_(memory),
      watch_(watch) {}

ContainerRuns::~ContainerRuns() = default;

// ---- templates

void ContainerRuns::prepare(const Prepare& request, std::vector<Fd> descriptors) {
  if (request.network == Network::outbound) {
    // Here, once, and not in the functions' time: from its first instruction on a function may rely on its network.
    if (auto started = networks_.start_helper(); !started) {
      return answers_.send(PrepareFailed{.template_id = request.template_id,
                                         .step = Step::network,
                                         .error = ENETDOWN,
                                         .text = started.error().message.substr(0, kTextBytesMax)});
    }
  }
  auto resources = support_.allocate(request, descriptors);
  if (!resources) return answers_.send(resources.error());
  Template& entry = templates_[request.template_id];
  entry.request = request;
  entry.resources = std::move(*resources);
  start(request.template_id, entry);
}

void ContainerRuns::start(std::uint32_t id, Template& entry) {
  FirstProcess child = start_first_process(groups_.templates_group());
  if (child.pid == 0) {
    TemplateResources& resources = entry.resources;
    keep_descriptors(std::array{&child.socket, &resources.user_namespace, &resources.image, &resources.provided});
    template_main({.options = options_,
                   .request = entry.request,
                   .resources = entry.resources,
                   .outer_filter = support_.outer_filter(entry.request.network),
                   .inner_filter = support_.inner_filter(),
                   .into_group = groups_.templates_group() >= 0,
                   .socket = std::move(child.socket)});
  }
  if (child.pid < 0) {
    answers_.send(PrepareFailed{.template_id = id,
                                .step = Step::resources,
                                .error = child.error,
                                .text = explain("start a template", child.error)});
    return forget(id);
  }
  entry.pid = child.pid;
  entry.process = std::move(child.process);
  entry.socket = std::move(child.socket);
  entry.ready = false;
  by_pid_.emplace(entry.pid, id);
  watch_.watch_template(entry.socket.get(), id);
}

void ContainerRuns::drop(std::uint32_t template_id) {
  if (const auto found = templates_.find(template_id); found != templates_.end()) end_template(found->second);
}

void ContainerRuns::end_template(Template& entry) {
  entry.ending = true;
  // Pid 1 of its namespace: the kernel kills every sandbox with it.
  signal_process(entry.process.get(), SIGKILL);
}

void ContainerRuns::kill_all() {
  for (auto& [id, entry] : templates_) end_template(entry);
}

void ContainerRuns::read_template(std::uint32_t template_id) {
  const auto found = templates_.find(template_id);
  if (found == templates_.end() || !found->second.socket) return;
  for (;;) {
    Datagram got;
    const Transfer transfer = receive(found->second.socket.get(), got);
    if (transfer == Transfer::would_block) return;
    if (transfer != Transfer::done) {
      // What follows its end is done when it is reaped: only then all its sandboxes are gone.
      watch_.forget_template(found->second.socket.get());
      signal_process(found->second.process.get(), SIGKILL);
      return;
    }
    auto answer = decode_answer(got.bytes);
    if (!answer) {
      signal_process(found->second.process.get(), SIGKILL);
      return;
    }
    take_answer(template_id, found->second, std::move(*answer), std::move(got.descriptors));
  }
}

// A template has no rights on the host, so what it says is believed of itself and of its own runs only.
void ContainerRuns::take_answer(std::uint32_t id, Template& entry, Answer answer, std::vector<Fd> descriptors) {
  if (std::holds_alternative<Prepared>(answer)) {
    entry.ready = true;
    if (std::exchange(entry.announced, true)) return;
    answers_.send(Prepared{.template_id = id, .files = entry.resources.files});
  } else if (auto* refused = std::get_if<PrepareFailed>(&answer)) {
    entry.failed = true;
    refused->template_id = id;
    answers_.send(*refused);
  } else if (const auto* started = std::get_if<Started>(&answer)) {
    if (entry.runs.contains(started->run)) take_one(entry, *started, std::move(descriptors));
  } else if (const auto* failed = std::get_if<SpawnFailed>(&answer)) {
    if (!entry.runs.contains(failed->run)) return;
    end_run(entry, failed->run);
    answers_.send(*failed);
  } else if (const auto* exited = std::get_if<Exited>(&answer)) {
    if (entry.runs.contains(exited->run)) take_one(entry, *exited);
  } else if (const auto* gone = std::get_if<SpareGone>(&answer)) {
    if (entry.spare && entry.spare->number == gone->spare) free_spare(entry);
  }
}

bool ContainerRuns::reaped(pid_t pid) {
  const auto known = by_pid_.find(pid);
  if (known == by_pid_.end()) return false;
  const std::uint32_t id = known->second;
  // Its last words first.
  read_template(id);
  by_pid_.erase(known);
  Template& entry = templates_.at(id);
  watch_.forget_template(entry.socket.get());
  entry.socket.reset();
  free_spare(entry);
  lose_runs(entry);
  if (entry.ending || entry.failed) {
    forget(id);
  } else if (entry.ready) {
    start(id, entry);
  } else {
    answers_.send(PrepareFailed{.template_id = id,
                                .step = Step::template_died,
                                .error = ESRCH,
                                .text = "the template died while it was being built"});
    forget(id);
  }
  return true;
}

void ContainerRuns::lose_runs(Template& entry) {
  for (const std::uint64_t id : std::exchange(entry.runs, {})) {
    Run& run = runs_.at(id);
    if (!run.process) {
      answers_.send(SpawnFailed{.run = id, .step = Step::template_died, .error = ESRCH});
    } else {
      Exited report{.run = id, .how = Ending::lost, .value = 0};
      // We did it: the end of the run is known.
      if (entry.ending) report.how = Ending::signal;
      if (entry.ending) report.value = SIGKILL;
      answers_.send(complete(run, report));
    }
    end_run(entry, id);
  }
}

void ContainerRuns::forget(std::uint32_t id) {
  const auto found = templates_.find(id);
  for (auto* networks : {&found->second.idle_networks, &found->second.returned_networks}) {
    for (PrivateNetwork& network : *networks) networks_.discard(std::move(network));
  }
  support_.free(found->second.resources.slot);
  templates_.erase(found);
}

// ---- runs

void ContainerRuns::spawn(std::string_view bytes, const Spawn& request, std::vector<Fd> descriptors,
                          std::uint64_t received_us) {
  const auto refuse = [this, &request](Step step, int error) {
    answers_.send(SpawnFailed{.run = request.run, .step = step, .error = error});
  };
  const auto found = templates_.find(request.template_id);
  if (found == templates_.end() || found->second.ending || found->second.failed) return refuse(Step::request, ENOENT);
  Template& entry = found->second;
  if (const SpawnError error = take_files(options_, entry.resources, request, descriptors); error.error != 0) {
    return refuse(error.step, error.error);
  }
  Place place;
  const bool by_spare = may_use_spare(request);
  const bool spare_fits = by_spare && entry.spare && !entry.spare->ending && entry.spare->limits == request.limits;
  if (spare_fits) {
    place = std::move(entry.spare->place);
  } else if (const Step refused = take_place(entry, request.limits, place); refused != Step::request) {
    return refuse(refused, refused == Step::network ? ENETDOWN : EIO);
  }

  std::vector<int> passed;
  for (const Fd& fd : descriptors) passed.push_back(fd.get());
  add_descriptors(place, passed);
  const Transfer sent = send(entry.socket.get(), bytes, passed);
  if (sent != Transfer::done) {
    // Full: more starts wait in the template than its socket holds. Closed: it died, and is being built anew.
    if (spare_fits) {
      entry.spare->place = std::move(place);
    } else {
      give_back(entry, std::move(place));
    }
    return sent == Transfer::would_block ? refuse(Step::resources, EAGAIN) : refuse(Step::template_died, ESRCH);
  }
  if (spare_fits) entry.spare.reset();
  if (by_spare && entry.spare) end_spare(entry);
  if (by_spare) entry.wants_spare = request.limits;
  Run run;
  run.id = request.run;
  run.template_id = request.template_id;
  run.received_us = received_us;
  run.group = std::move(place.group);
  run.network = std::move(place.network);
  if (run.group != nullptr) memory_.watch(run.group->memory_event(), run.id);
  entry.runs.insert(run.id);
  entry.in_a_row = received_us - entry.last_end_us < kShortRunUs;
  ++entry.starting;
  runs_.emplace(run.id, std::move(run));
}

void ContainerRuns::take_one(Template& entry, const Started& answer, std::vector<Fd> descriptors) {
  Run& run = runs_.at(answer.run);
  if (descriptors.size() != 1 || run.process) return;
  --entry.starting;
  entry.last_start_us = monotonic_us();
  run.process = std::move(descriptors.front());
  run.start_us = std::clamp(answer.exec_us, run.received_us, entry.last_start_us) - run.received_us;
  if (run.group != nullptr && !run.group->started()) run.kill_wanted = SIGKILL;
  if (run.kill_wanted != 0) signal_process(run.process.get(), run.kill_wanted);
  answers_.send(Started{.run = answer.run});
}

void ContainerRuns::take_one(Template& entry, const Exited& answer) {
  const Exited report = complete(runs_.at(answer.run), answer);
  entry.last_end_us = monotonic_us();
  answers_.send(report);
  end_run(entry, answer.run);
}

void ContainerRuns::end_run(Template& entry, std::uint64_t id) {
  auto node = runs_.extract(id);
  entry.runs.erase(id);
  Run& run = node.mapped();
  if (!run.process) --entry.starting;
  if (run.group != nullptr) memory_.forget(run.group->memory_event());
  give_back(entry, {.group = std::move(run.group), .network = std::move(run.network)});
}

// ---- where a sandbox is put

// Step::request: it has been taken.
Step ContainerRuns::take_place(Template& entry, const Limits& limits, Place& place) {
  if (entry.request.network == Network::outbound) {
    auto network = take_network(entry);
    if (!network) return Step::network;
    place.network = std::move(*network);
  }
  auto group = groups_.acquire(limits);
  if (!group) {
    give_back(entry, std::move(place));
    return Step::cgroup;
  }
  place.group = std::move(*group);
  return Step::request;
}

void ContainerRuns::give_back(Template& entry, Place place) {
  if (place.network) entry.returned_networks.push_back(std::move(*place.network));
  if (place.group != nullptr) groups_.release(std::move(place.group));
}

// In the order of template_process.h.
void ContainerRuns::add_descriptors(const Place& place, std::vector<int>& passed) {
  if (place.network) passed.push_back(place.network->descriptor.get());
  if (place.group == nullptr) return;
  passed.insert(passed.end(), place.group->tasks().begin(), place.group->tasks().end());
  if (place.group->born_into() >= 0) passed.push_back(place.group->born_into());
}

Result<PrivateNetwork> ContainerRuns::take_network(Template& entry) {
  if (entry.idle_networks.empty()) {
    auto made = networks_.make(entry.resources.user_namespace.get());
    entry.network_refused = !made.has_value();
    return made;
  }
  PrivateNetwork network = std::move(entry.idle_networks.back());
  entry.idle_networks.pop_back();
  return network;
}

bool ContainerRuns::tidy_networks(Template& entry) {
  if (!entry.returned_networks.empty()) {
    PrivateNetwork network = std::move(entry.returned_networks.back());
    entry.returned_networks.pop_back();
    // A socket in TIME_WAIT would hold a port of the next run.
    const bool reuse = ++network.uses < kPrivateNetworkUsesMax &&
                       entry.idle_networks.size() < kIdlePrivateNetworksMax && network.tables.is_clean();
    if (reuse) {
      entry.idle_networks.push_back(std::move(network));
    } else {
      networks_.discard(std::move(network));
    }
    return true;
  }
  if (!entry.ready || entry.ending || entry.network_refused || !entry.idle_networks.empty()) return false;
  auto spare = networks_.make(entry.resources.user_namespace.get());
  entry.network_refused = !spare.has_value();
  if (spare) entry.idle_networks.push_back(std::move(*spare));
  return true;
}

// ---- spare sandboxes

bool ContainerRuns::wants_spare(const Template& entry) {
  return entry.wants_spare && !entry.spare && entry.ready && !entry.ending && !entry.failed;
}

bool ContainerRuns::tidy_spare(Template& entry) {
  // Not while a run starts, nor while one may be about to end: the kernel makes and ends sandboxes under the same
  // locks, and often on the same processor. But runs in a row leave no other time.
  if (!wants_spare(entry)) return false;
  const bool may_be_ending = !entry.runs.empty() && monotonic_us() - entry.last_start_us < kShortRunUs;
  if (!entry.in_a_row && (entry.starting != 0 || may_be_ending)) return false;
  const MakeSpare request{.spare = ++spares_made_, .limits = *std::exchange(entry.wants_spare, std::nullopt)};
  Place place;
  if (take_place(entry, request.limits, place) != Step::request) return true;
  std::vector<int> passed;
  add_descriptors(place, passed);
  const auto bytes = encode(request);
  if (!bytes || send(entry.socket.get(), *bytes, passed) != Transfer::done) {
    give_back(entry, std::move(place));
    return true;
  }
  if (place.group != nullptr) memory_.watch(place.group->memory_event(), 0);  // not when the run is waiting
  entry.spare = Spare{.number = request.spare, .limits = request.limits, .place = std::move(place)};
  end_oldest_spare();
  return true;
}

void ContainerRuns::end_oldest_spare() {
  std::size_t count = 0;
  Template* oldest = nullptr;
  for (auto& [id, entry] : templates_) {
    if (!entry.spare || entry.spare->ending) continue;
    ++count;
    if (oldest == nullptr || entry.spare->number < oldest->spare->number) oldest = &entry;
  }
  if (count > kSparesMax) end_spare(*oldest);
}

// Where the template's socket is full it stays for a run that fits.
void ContainerRuns::end_spare(Template& entry) {
  if (entry.spare->ending) return;
  const auto bytes = encode(EndSpare{.spare = entry.spare->number});
  entry.spare->ending = bytes && send(entry.socket.get(), *bytes) == Transfer::done;
}

void ContainerRuns::free_spare(Template& entry) {
  if (entry.spare) {
    if (const auto& group = entry.spare->place.group) memory_.forget(group->memory_event());
    give_back(entry, std::move(entry.spare->place));
  }
  entry.spare.reset();
}

bool ContainerRuns::tidies_later() const {
  return std::ranges::any_of(templates_,
                             [](const auto& entry) { return wants_spare(entry.second) && entry.second.starting == 0; });
}

bool ContainerRuns::tidy() {
  return std::ranges::any_of(templates_, [this](auto& entry) {
    return (entry.second.request.network == Network::outbound && tidy_networks(entry.second)) ||
           tidy_spare(entry.second);
  });
}

bool ContainerRuns::kill(std::uint64_t run, KillSignal signal) {
  const auto found = runs_.find(run);
  if (found == runs_.end()) return false;
  const int number = signal == KillSignal::kill ? SIGKILL : SIGTERM;
  if (found->second.process) {
    // The first process is pid 1 of the run's namespace: SIGKILL from outside takes everything in it along.
    signal_process(found->second.process.get(), number);
  } else if (found->second.kill_wanted != SIGKILL) {
    found->second.kill_wanted = number;
    kill_before_start(found->second);
    if (number == SIGKILL && found->second.group == nullptr) tell_template(found->second);
  }
  return true;
}

// Only it knows the process then. Where it cannot be told, the kill waits for the start.
void ContainerRuns::tell_template(const Run& run) {
  const auto bytes = encode(Kill{.run = run.id, .signal = KillSignal::kill});
  if (bytes) static_cast<void>(send(templates_.at(run.template_id).socket.get(), *bytes));
}

// Copying inputs may take long, and nobody has told of the process yet. Until it is told of, it may still be on its way
// into the group.
bool ContainerRuns::kill_before_start(Run& run) {
  if (run.process || run.kill_wanted != SIGKILL || run.group == nullptr) return false;
  run.group->kill_all();
  return true;
}

bool ContainerRuns::sample(std::uint64_t run, Usage& into) const {
  const auto found = runs_.find(run);
  if (found == runs_.end()) return false;
  into = usage_so_far(found->second);
  return true;
}

void ContainerRuns::memory_event(std::uint64_t run) {
  if (const auto found = runs_.find(run); found != runs_.end()) found->second.memory_looks = kMemoryLooks;
}

bool ContainerRuns::look_again() {
  bool more = false;
  for (auto& [id, run] : runs_) {
    // One process of the tree was killed for memory: what is left of it cannot be relied on.
    if (look_for_memory_kill(run)) static_cast<void>(kill(id, KillSignal::kill));
    more = kill_before_start(run) || more || run.memory_looks != 0;
  }
  return more;
}

}  // namespace millrace::launcher
