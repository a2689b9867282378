// Makes a connection ready for use: connects, looks at the server, brings the tables up to date, prepares statements.
// Blocks: for a thread of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "state/postgres/library.h"
#include "state/postgres/statement.h"
#include "state/postgres/url.h"

namespace millrace::postgres {

// What the server does with what it has confirmed.
struct ServerFacts {
  int version = 0;          // 150004 is 15.4
  std::string weakness;     // why a crash of the server's machine may lose confirmed writes; empty: it does not
  bool replicated = false;  // a commit waits for another server
};

struct Dialing {
  Address address;
  std::vector<Statement> statements;  // to be prepared
  bool allow_weak_durability = false;
};

struct Dialed {
  ConnectionPtr connection;  // non-blocking, in pipeline mode
  ServerFacts facts;
  std::string store_id;
};

// Connects and looks, and changes nothing.
[[nodiscard]] Result<ServerFacts> look(const Address& address);

// `failed_precondition`: the tables were written by a newer build or are not ours, the server is too old, or it
// confirms before it has stored. `permission_denied`: the user, or it may not make the schema. `not_found`: the
// database. `unavailable`: later is fine.
[[nodiscard]] Result<Dialed> dial(const Dialing& dialing);

}  // namespace millrace::postgres
