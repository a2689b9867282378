// The parameters of one statement, in PostgreSQL's binary format: numbers in network order, bytes as they are, so that
// no value needs quoting and any file name fits.
//
//   Parameters parameters;
//   parameters.add(run_id.str());
//   parameters.add(std::int64_t{7});
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::postgres {

// A one-dimensional array without nulls, of BYTEA or BIGINT.
class Array {
 public:
  enum class Of : std::uint8_t { bytes, numbers };
  explicit Array(Of of) : of_(of) {}

  // The bytes of each id.
  template <class Id>
  [[nodiscard]] static Array of_ids(const std::vector<Id>& ids) {
    Array made(Of::bytes);
    for (const Id& id : ids) made.add(id.str());
    return made;
  }

  void add(std::string_view bytes);
  void add(std::int64_t number);

  [[nodiscard]] std::string encoded() const;

 private:
  Of of_;
  std::uint32_t count_ = 0;
  std::string elements_;
};

class Parameters {
 public:
  void add(std::string_view bytes);
  void add(std::int64_t number);
  void add(bool flag);
  void add(const char* text) = delete;  // would be taken for a flag
  void add(const Array& array);
  void add_null();

  // As libpq wants them; valid until the next add().
  struct Pointers {
    std::vector<const char*> values;
    std::vector<int> lengths;
    std::vector<int> formats;
  };
  [[nodiscard]] Pointers pointers() const;

  [[nodiscard]] std::size_t size_bytes() const { return bytes_.size(); }

 private:
  struct Place {
    std::size_t offset;
    std::size_t length;
    bool null;
  };
  void add_raw(std::string_view bytes);

  std::string bytes_;
  std::vector<Place> places_;
};

// Numbers in network order.
void put_number(std::string& to, std::uint64_t value, std::size_t bytes);
[[nodiscard]] std::uint64_t take_number(std::string_view from);

}  // namespace millrace::postgres
