// The routes, by resource; each in a file of its own.
#pragma once

#include "async/task.h"
#include "gateway/router.h"

namespace millrace::routes {

// routes_functions.cc
Task<void> list_functions(Exchange& exchange);
Task<void> get_function(Exchange& exchange);
Task<void> apply_functions(Exchange& exchange);
Task<void> remove_function(Exchange& exchange);
Task<void> replay_function(Exchange& exchange);
// `not_found` for a function that does not exist and of which no run is left. On the domain loop.
Task<Result<void>> check_function_known(Services& services, std::string name);

// routes_invoke.cc
Task<void> invoke_function(Exchange& exchange);

// routes_objects.cc
Task<void> list_buckets(Exchange& exchange);
Task<void> make_bucket(Exchange& exchange);
Task<void> list_objects(Exchange& exchange);
Task<void> get_object(Exchange& exchange);
Task<void> put_object(Exchange& exchange);
Task<void> remove_object(Exchange& exchange);

// routes_runs.cc
Task<void> list_runs(Exchange& exchange);
Task<void> get_run(Exchange& exchange);
Task<void> get_run_log(Exchange& exchange);
Task<void> cancel_run(Exchange& exchange);

// routes_streams.cc
Task<void> watch_runs(Exchange& exchange);
Task<void> watch_topic(Exchange& exchange);
Task<void> follow_run_log(Exchange& exchange);

// routes_top.cc
Task<void> top(Exchange& exchange);

// routes_nodes.cc
Task<void> list_nodes(Exchange& exchange);

// routes_why.cc
Task<void> why(Exchange& exchange);

// routes_publish.cc
Task<void> publish_event(Exchange& exchange);

// routes_topics.cc
Task<void> list_topics(Exchange& exchange);
Task<void> make_topic(Exchange& exchange);
Task<void> remove_topic(Exchange& exchange);
Task<void> list_dead_letters(Exchange& exchange);
Task<void> redrive_dead_letters(Exchange& exchange);
// The group that a request about a topic means: the one it names, or the only one there can be.
Task<Result<std::string>> group_of(Services& services, std::string topic, std::string named);

// routes_purge.cc
Task<void> purge_topic(Exchange& exchange);

// routes_system.cc
Task<void> health(Exchange& exchange);
Task<void> health_live(Exchange& exchange);
Task<void> metrics(Exchange& exchange);
Task<void> node(Exchange& exchange);
Task<void> wait_idle(Exchange& exchange);

}  // namespace millrace::routes
