#include "engine/run_meter.h"

namespace millrace {

RunMeter::Counters::Counters(Metrics& metrics, const std::string& function)
    : wall_us(
          metrics.counter("millrace_run_wall_us_total", "Microseconds that functions ran.", {{"function", function}})),
      queued_us(metrics.counter("millrace_run_queued_us_total", "Microseconds that events waited for their run.",
                                {{"function", function}})),
      start_us(metrics.counter("millrace_run_start_us_total", "Microseconds from asking for a function to its start.",
                               {{"function", function}})),
      cpu_us(metrics.counter("millrace_run_cpu_us_total", "Microseconds of cpu that functions used.",
                             {{"function", function}})),
      throttled_us(metrics.counter("millrace_run_throttled_us_total",
                                   "Microseconds that functions were held back by their quota of cpu.",
                                   {{"function", function}})),
      memory_mib_ms(metrics.counter("millrace_run_memory_mib_ms_total",
                                    "Memory set aside for functions times the time they ran, in MiB and milliseconds.",
                                    {{"function", function}})),
      read_bytes(metrics.counter("millrace_run_read_bytes_total", "Bytes that functions read from disks.",
                                 {{"function", function}})),
      written_bytes(metrics.counter("millrace_run_written_bytes_total", "Bytes that functions wrote to disks.",
                                    {{"function", function}})),
      output_bytes(metrics.counter("millrace_run_output_bytes_total", "Bytes of files that functions left.",
                                   {{"function", function}})) {}

void RunMeter::run_ended(const LiveRun& run, const RunEnd& end) {
  auto found = counters_.find(run.function);
  if (found == counters_.end()) {
    const std::string name = counters_.size() < kFunctionsMax ? run.function : "other";
    found = counters_.try_emplace(name, metrics_, name).first;
  }
  const Counters& counters = found->second;
  const Usage& usage = end.usage;
  counters.wall_us.get().add(usage.wall_us);
  counters.queued_us.get().add(usage.queued_us);
  counters.start_us.get().add(usage.start_us);
  counters.cpu_us.get().add(usage.cpu_us);
  counters.throttled_us.get().add(usage.throttled_us);
  counters.memory_mib_ms.get().add((usage.memory_limit_bytes >> 20) * (usage.wall_us / 1000));
  counters.read_bytes.get().add(usage.read_bytes);
  counters.written_bytes.get().add(usage.written_bytes);
  counters.output_bytes.get().add(usage.output_bytes);
}

void count_run(Metrics& metrics, const RunRecord& record) {
  metrics
      .counter("millrace_runs_total", "Runs by function and outcome.",
               {{"function", record.function}, {"outcome", std::string(name_of(record.outcome))}})
      .add();
}

}  // namespace millrace
