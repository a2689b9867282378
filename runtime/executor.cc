#include "runtime/executor.h"

namespace millrace {

std::string_view name_of(ControlState state) {
  switch (state) {
    case ControlState::real: return "real";
    case ControlState::emulated: return "emulated";
    case ControlState::missing: return "missing";
  }
  return "missing";
}

}  // namespace millrace
