// FDL files in tests: scripts that are read from a map, and files with one function.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "formats/fdl.h"

namespace millrace::test {

using Texts = std::vector<std::string>;

// The files that an FDL's scripts are read from.
inline Result<std::string> read_file(std::string_view path) {
  static const std::map<std::string, std::string, std::less<>> kFiles{
      {"thumb.sh", "#!/bin/sh\r\necho hi\r\n"},
      {"empty.sh", ""},
      {"sub/a b.py", "print(1)"},
      {"nul.sh", std::string("a\0b", 3)},
      {"latin1.sh", "echo \xe9\n"},
      {"huge.sh", std::string(kScriptBytesMax + 1, '\n')},
      {"largest.sh", std::string(kScriptBytesMax, 'x')}};
  const auto found = kFiles.find(path);
  if (found == kFiles.end()) return fail(Errc::not_found, "No such file or directory");
  return found->second;
}

inline std::vector<FunctionSpec> read(std::string_view text) {
  Diagnostics problems;
  auto functions = read_fdl(text, read_file, problems);
  EXPECT_TRUE(problems.empty()) << problems.to_error("fdl").message;
  return functions;
}

inline Texts problems_of(std::string_view text) {
  Diagnostics problems;
  (void)read_fdl(text, read_file, problems);
  Texts texts;
  for (const auto& item : problems.items()) texts.push_back(to_text(item));
  return texts;
}

// One function with these fields (YAML, one per line) beside name and script; its fields begin in line 5.
inline std::string fdl(std::string_view fields) {
  std::string text = "functions:\n  millrace:\n  - name: f\n    script: thumb.sh\n";
  for (std::size_t begin = 0; begin < fields.size();) {
    const auto end = std::min(fields.find('\n', begin), fields.size());
    text += "    " + std::string(fields.substr(begin, end - begin)) + "\n";
    begin = end + 1;
  }
  return text;
}

inline FunctionSpec one(std::string_view fields) {
  const auto functions = read(fdl(fields));
  return functions.size() == 1 ? functions[0] : FunctionSpec{};
}

}  // namespace millrace::test
