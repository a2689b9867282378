#include "gateway/run_json.h"

#include "formats/record_json.h"
#include "formats/timestamp.h"

namespace millrace {

Json live_json(const LiveRun& run) {
  return Json::object({{"run_id", run.run_id.str()},
                       {"event_id", run.event_id.str()},
                       {"function", run.function},
                       {"key", run.key},
                       {"state", name_of(run.state)},
                       {"since", format_timestamp(run.since)},
                       {"queued_at", format_timestamp(run.queued_at)},
                       {"failures", run.failures},
                       {"losses", run.losses}});
}

Json news_json(const RunNews& news) {
  Json json = live_json(news.run);
  if (!news.end) return json;
  json.set("outcome", name_of(news.end->outcome));
  json.set("reason", news.end->reason);
  json.set("exit_code", news.end->exit_code);
  json.set("signal", news.end->signal);
  json.set("failures", news.end->failures);
  json.set("losses", news.end->losses);
  json.set("usage", to_json(news.end->usage));
  return json;
}

}  // namespace millrace
