// SHA-256 of a stream of bytes, for outputs and uploads.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace millrace {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::string_view bytes);
  [[nodiscard]] std::string finish_hex();  // 64 lower-case digits; once

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
