// Runs a fuzz target once over every file of its corpus, and over the empty input: what was found once stays found in
// ordinary builds and under the sanitizers. Usage: fuzz_corpus_<name> DIRECTORY
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void run(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: fuzz_corpus_<name> DIRECTORY\n", stderr);
    return 2;
  }
  std::error_code error;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1], error)) files.push_back(entry.path());
  if (files.empty()) {
    std::fprintf(stderr, "%s: no inputs to replay (%s); a fuzz target needs at least one seed\n", argv[1],
                 error ? error.message().c_str() : "the directory is empty");
    return 1;
  }
  std::ranges::sort(files);

  run("");
  for (const auto& path : files) {
    std::printf("%s\n", path.c_str());
    std::fflush(stdout);  // the last line names the input that crashed
    std::ifstream file(path, std::ios::binary);
    const std::string input{std::istreambuf_iterator<char>(file), {}};
    if (file.bad() || !file.is_open()) {
      std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
      return 1;
    }
    run(input);
  }
  std::printf("%zu inputs replayed\n", files.size() + 1);
  return 0;
}
