// What a reader of `millrace check` can do about what does not hold on this host.
#pragma once

#include <string>
#include <vector>

#include "runtime/executor.h"

namespace millrace {

struct RemedyHost {
  bool root = false;
  bool groups_v2 = false;  // version 2 of control groups is the only one
};

// A command, or a line of configuration, that makes more of the control hold; empty where nothing is known, or needed.
[[nodiscard]] std::string remedy_of(const Control& control, const RemedyHost& host);

// A remedy, and the controls that it is for.
struct Remedy {
  std::string what;
  std::string controls;  // "memory, pids"
};

// Every remedy once, in the order in which the controls ask for them.
[[nodiscard]] std::vector<Remedy> remedies_of(const std::vector<Control>& controls, const RemedyHost& host);

}  // namespace millrace
