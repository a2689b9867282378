#include <array>

#include "gateway/router.h"
#include "gateway/routes.h"

namespace millrace {
namespace {

constexpr std::array kRoutes{
    Route{"GET", "/health", routes::health, "", true, true},
    Route{"GET", "/health/live", routes::health_live, "", true, true},
    Route{"GET", "/metrics", routes::metrics, "", false, true},

    Route{"GET", "/api/v1/functions", routes::list_functions},
    Route{"POST", "/api/v1/functions", routes::apply_functions, "check?"},
    Route{"GET", "/api/v1/functions/{name}", routes::get_function},
    Route{"DELETE", "/api/v1/functions/{name}", routes::remove_function},
    Route{"POST", "/api/v1/functions/{name}/invoke", routes::invoke_function, "async? delay priority"},
    Route{"POST", "/api/v1/functions/{name}/replay", routes::replay_function, "again?"},

    Route{"GET", "/api/v1/buckets", routes::list_buckets},
    Route{"PUT", "/api/v1/buckets/{bucket}", routes::make_bucket},
    Route{"GET", "/api/v1/buckets/{bucket}/objects", routes::list_objects, "prefix after limit"},
    Route{"GET", "/api/v1/buckets/{bucket}/objects/{key*}", routes::get_object},
    Route{"PUT", "/api/v1/buckets/{bucket}/objects/{key*}", routes::put_object},
    Route{"DELETE", "/api/v1/buckets/{bucket}/objects/{key*}", routes::remove_object},

    Route{"GET", "/api/v1/runs", routes::list_runs, "function outcome since before limit"},
    Route{"GET", "/api/v1/runs/events", routes::watch_runs, "function"},  // before {id}
    Route{"GET", "/api/v1/runs/{id}", routes::get_run},
    Route{"GET", "/api/v1/runs/{id}/log", routes::get_run_log, "follow?"},
    Route{"POST", "/api/v1/runs/{id}/cancel", routes::cancel_run},
    Route{"GET", "/api/v1/why/{id}", routes::why},

    Route{"GET", "/api/v1/topics", routes::list_topics},
    Route{"PUT", "/api/v1/topics/{topic}", routes::make_topic},
    Route{"DELETE", "/api/v1/topics/{topic}", routes::remove_topic},
    Route{"GET", "/api/v1/topics/{topic}/events", routes::watch_topic},
    Route{"POST", "/api/v1/topics/{topic}/events", routes::publish_event, "delay priority key mode"},
    Route{"GET", "/api/v1/topics/{topic}/dead-letters", routes::list_dead_letters, "group after limit"},
    Route{"POST", "/api/v1/topics/{topic}/redrive", routes::redrive_dead_letters, "group"},
    Route{"POST", "/api/v1/topics/{topic}/purge", routes::purge_topic, "group"},

    Route{"GET", "/api/v1/node", routes::node},
    Route{"GET", "/api/v1/nodes", routes::list_nodes},
    Route{"GET", "/api/v1/top", routes::top},
    Route{"POST", "/api/v1/wait-idle", routes::wait_idle, "timeout"},
};

}  // namespace

std::span<const Route> route_table() {
  return kRoutes;
}

}  // namespace millrace
