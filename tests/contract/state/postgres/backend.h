// The one server of the program: making a cluster costs half a second, a database a twentieth.
#pragma once

#include "tests/support/postgres_server.h"

namespace millrace::test {

[[nodiscard]] PostgresServer& postgres_server();

}  // namespace millrace::test
