// Nodes and what they tell one another, in PostgreSQL.
#pragma once

#include <string>
#include <vector>

#include "state/postgres/lane.h"
#include "state/postgres/listener.h"
#include "state/shared_state.h"

namespace millrace::postgres {

class PostgresNodeStore final : public SharedState {
 public:
  PostgresNodeStore(Lane& writer, Lane& reader, Listener& listener)
      : writer_(writer), reader_(reader), listener_(listener) {}

  Task<Result<void>> join(NodeRow me, std::chrono::milliseconds lease) override;
  Task<Result<void>> beat(NodeRow me, std::chrono::milliseconds lease) override;
  Task<Result<void>> leave(NodeRow me) override;
  Task<Result<std::vector<NodeRow>>> nodes() override;
  Task<Result<void>> announce(Notice notice) override;
  void on_notice(std::move_only_function<void(const Notice& notice)> heard) override;

 private:
  Lane& writer_;
  Lane& reader_;
  Listener& listener_;
};

[[nodiscard]] std::vector<Statement> node_statements();

}  // namespace millrace::postgres
