#include "state/postgres/node_store.h"

#include <utility>

#include "state/postgres/columns.h"
#include "state/postgres/notices.h"

namespace millrace::postgres {
namespace {

const std::string kNodeColumns = names<NodeRow>();
const int kCount = column_count<NodeRow>();
const std::string kLease = placeholder(kCount + 1) + "::bigint";
const std::string kLeaseUntil = "clock_timestamp() + " + kLease + " * interval '1 millisecond'";

// Parameters 1 to 4 are name, identity, session and broker: the first that a node's columns list.
const Statement kJoin{
    "join_node",
    "WITH others AS (SELECT name, broker FROM nodes WHERE lease_until > clock_timestamp() AND identity <> $2),"
    " apart AS (SELECT name FROM others WHERE broker <> $4 OR broker = 'alone'),"
    " earlier AS (DELETE FROM nodes WHERE identity = $2 AND name <> $1),"
    " joined AS (INSERT INTO nodes (" +
        kNodeColumns + ", beaten_at, lease_until) SELECT " + placeholders<NodeRow>(1) + ", clock_timestamp(), " +
        kLeaseUntil + " WHERE NOT EXISTS (SELECT FROM apart) ON CONFLICT (name) DO UPDATE SET (" + kNodeColumns +
        ", beaten_at, lease_until) = (" + names<NodeRow>("EXCLUDED.") +
        ", EXCLUDED.beaten_at, EXCLUDED.lease_until)"
        " WHERE nodes.identity = EXCLUDED.identity OR nodes.lease_until <= clock_timestamp() RETURNING 1)"
        " SELECT EXISTS (SELECT FROM joined), (SELECT name FROM apart LIMIT 1)"};

const Statement kBeat{
    "beat_node",
    "WITH old AS (DELETE FROM nodes WHERE lease_until < clock_timestamp() - " + std::to_string(kGoneNodesKept.count()) +
        " * interval '1 hour' AND name <> $1),"
        " beaten AS (UPDATE nodes SET (" +
        kNodeColumns + ", beaten_at, lease_until) = (" + placeholders<NodeRow>(1) + ", clock_timestamp(), " +
        kLeaseUntil + ") WHERE name = $1 AND session = $3 RETURNING 1) SELECT EXISTS (SELECT FROM beaten)"};

const Statement kLeave{"leave_node", "DELETE FROM nodes WHERE name = $1 AND session = $2"};

const Statement kNodes{
    "all_nodes", "SELECT " + kNodeColumns +
                     ", lease_until > clock_timestamp(),"
                     " GREATEST(0, floor(extract(epoch FROM clock_timestamp() - beaten_at) * 1000))::bigint FROM nodes"
                     " WHERE lease_until > clock_timestamp() - " +
                     std::to_string(kGoneNodesKept.count()) + " * interval '1 hour' ORDER BY name"};

const Statement kAnnounce{"announce", "SELECT " + notify("convert_from($1::bytea, 'UTF8')") + "::text"};

Query bound(const Statement& statement, const NodeRow& me, std::chrono::milliseconds lease) {
  Query query(statement);
  bind(query.parameters, me);
  query.parameters.add(std::int64_t{lease.count()});
  return query;
}

}  // namespace

Task<Result<void>> PostgresNodeStore::join(NodeRow me, std::chrono::milliseconds lease) {
  const auto answer = co_await writer_.run(bound(kJoin, me, lease));
  if (!answer) co_return fail(answer.error());
  if (answer->flag(0, 0)) co_return Result<void>();
  if (answer->is_null(0, 1)) {
    co_return fail(Errc::already_exists, "a node named '" + me.name +
                                             "' shares this state store already; give this one another name with "
                                             "--node, or wait until that one's lease has run out");
  }
  co_return fail(Errc::failed_precondition,
                 "node '" + answer->text(0, 1) +
                     "' shares this state store, and its events are in another broker: several daemons need the same "
                     "NATS servers (--broker nats://...) and nats_prefix; the embedded broker serves one daemon");
}

Task<Result<void>> PostgresNodeStore::beat(NodeRow me, std::chrono::milliseconds lease) {
  const auto answer = co_await writer_.run(bound(kBeat, me, lease));
  if (!answer) co_return fail(answer.error());
  if (answer->flag(0, 0)) co_return Result<void>();
  co_return fail(Errc::aborted, "node '" + me.name + "' is not on the list of nodes as this daemon any more");
}

Task<Result<void>> PostgresNodeStore::leave(NodeRow me) {
  Query query(kLeave);
  query.parameters.add(me.name);
  query.parameters.add(me.session);
  const auto answer = co_await writer_.run(std::move(query));
  if (!answer) co_return fail(answer.error());
  co_return Result<void>();
}

Task<Result<std::vector<NodeRow>>> PostgresNodeStore::nodes() {
  const auto answer = co_await reader_.run(Query(kNodes));
  if (!answer) co_return fail(answer.error());
  std::vector<NodeRow> nodes;
  for (int row = 0; row < answer->rows(); ++row) {
    auto node = read<NodeRow>(*answer, row, 0);
    if (!node) co_return fail(node.error());
    node->alive = answer->flag(row, kCount);
    node->heartbeat_age = std::chrono::milliseconds(answer->number(row, kCount + 1));
    nodes.push_back(std::move(*node));
  }
  co_return nodes;
}

Task<Result<void>> PostgresNodeStore::announce(Notice notice) {
  Query query(kAnnounce);
  query.parameters.add(encode(notice));
  const auto answer = co_await writer_.run(std::move(query));
  if (!answer) co_return fail(answer.error());
  co_return Result<void>();
}

void PostgresNodeStore::on_notice(std::move_only_function<void(const Notice& notice)> heard) {
  listener_.start(std::move(heard));
}

std::vector<Statement> node_statements() {
  return {kJoin, kBeat, kLeave, kNodes, kAnnounce};
}

}  // namespace millrace::postgres
