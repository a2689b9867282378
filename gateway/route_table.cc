#include <array>

#include "gateway/router.h"
#include "gateway/routes.h"

namespace millrace {
namespace {

constexpr std::array kRoutes{
    Route{"GET", "/health", routes::health, true, true},
    Route{"GET", "/metrics", routes::metrics, false, true},

    Route{"GET", "/api/v1/functions", routes::list_functions},
    Route{"POST", "/api/v1/functions", routes::apply_functions},
    Route{"GET", "/api/v1/functions/{name}", routes::get_function},
    Route{"DELETE", "/api/v1/functions/{name}", routes::remove_function},
    Route{"POST", "/api/v1/functions/{name}/invoke", routes::invoke_function},
    Route{"POST", "/api/v1/functions/{name}/replay", routes::replay_function},

    Route{"GET", "/api/v1/buckets", routes::list_buckets},
    Route{"PUT", "/api/v1/buckets/{bucket}", routes::make_bucket},
    Route{"GET", "/api/v1/buckets/{bucket}/objects", routes::list_objects},
    Route{"GET", "/api/v1/buckets/{bucket}/objects/{key*}", routes::get_object},
    Route{"PUT", "/api/v1/buckets/{bucket}/objects/{key*}", routes::put_object},
    Route{"DELETE", "/api/v1/buckets/{bucket}/objects/{key*}", routes::remove_object},

    Route{"GET", "/api/v1/runs", routes::list_runs},
    Route{"GET", "/api/v1/runs/events", routes::watch_runs},  // before {id}
    Route{"GET", "/api/v1/runs/{id}", routes::get_run},
    Route{"GET", "/api/v1/runs/{id}/log", routes::get_run_log},
    Route{"POST", "/api/v1/runs/{id}/cancel", routes::cancel_run},
    Route{"GET", "/api/v1/why/{id}", routes::why},

    Route{"GET", "/api/v1/topics", routes::list_topics},
    Route{"PUT", "/api/v1/topics/{topic}", routes::make_topic},
    Route{"POST", "/api/v1/topics/{topic}/events", routes::publish_event},
    Route{"GET", "/api/v1/topics/{topic}/dead-letters", routes::list_dead_letters},
    Route{"POST", "/api/v1/topics/{topic}/redrive", routes::redrive_dead_letters},
    Route{"POST", "/api/v1/topics/{topic}/purge", routes::purge_topic},

    Route{"GET", "/api/v1/node", routes::node},
    Route{"GET", "/api/v1/nodes", routes::list_nodes},
    Route{"GET", "/api/v1/top", routes::top},
    Route{"POST", "/api/v1/wait-idle", routes::wait_idle},
};

}  // namespace

std::span<const Route> route_table() {
  return kRoutes;
}

}  // namespace millrace
