// Files of this repository, for tests that compare a document with the code it is about.
#pragma once

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>

namespace millrace::test {

inline std::string repository_file(const std::string& path) {
  const char* const root = std::getenv("MILLRACE_SOURCE_DIR");  // NOLINT(concurrency-mt-unsafe): nothing sets variables
  if (root == nullptr) throw std::runtime_error("set MILLRACE_SOURCE_DIR to the root of the repository");
  std::ifstream file(std::string(root) + "/" + path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace millrace::test
