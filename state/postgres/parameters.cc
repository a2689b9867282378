#include "state/postgres/parameters.h"

namespace millrace::postgres {
namespace {

// Object ids of the types in every server's catalogue.
constexpr std::uint64_t kBytea = 17;
constexpr std::uint64_t kBigint = 20;

}  // namespace

void put_number(std::string& to, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = bytes; i-- > 0;) to.push_back(static_cast<char>(value >> (8 * i) & 0xff));
}

std::uint64_t take_number(std::string_view from) {
  std::uint64_t value = 0;
  for (const char c : from) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

void Array::add(std::string_view bytes) {
  ++count_;
  put_number(elements_, bytes.size(), 4);
  elements_.append(bytes);
}

void Array::add(std::int64_t number) {
  ++count_;
  put_number(elements_, 8, 4);
  put_number(elements_, static_cast<std::uint64_t>(number), 8);
}

std::string Array::encoded() const {
  std::string array;
  array.reserve(elements_.size() + 20);
  put_number(array, count_ == 0 ? 0 : 1, 4);  // dimensions
  put_number(array, 0, 4);                    // no nulls
  put_number(array, of_ == Of::bytes ? kBytea : kBigint, 4);
  if (count_ == 0) return array;
  put_number(array, count_, 4);
  put_number(array, 1, 4);  // the first index
  return array + elements_;
}

void Parameters::add_raw(std::string_view bytes) {
  places_.push_back({.offset = bytes_.size(), .length = bytes.size(), .null = false});
  bytes_.append(bytes);
}

void Parameters::add(std::string_view bytes) {
  add_raw(bytes);
}

void Parameters::add(std::int64_t number) {
  std::string bytes;
  put_number(bytes, static_cast<std::uint64_t>(number), 8);
  add_raw(bytes);
}

void Parameters::add(bool flag) {
  add_raw(std::string_view(flag ? "\1" : "\0", 1));
}

void Parameters::add(const Array& array) {
  add_raw(array.encoded());
}

void Parameters::add_null() {
  places_.push_back({.offset = bytes_.size(), .length = 0, .null = true});
}

Parameters::Pointers Parameters::pointers() const {
  Pointers pointers;
  for (const Place& place : places_) {
    pointers.values.push_back(place.null ? nullptr : bytes_.data() + place.offset);
    pointers.lengths.push_back(static_cast<int>(place.length));
    pointers.formats.push_back(1);
  }
  return pointers;
}

}  // namespace millrace::postgres
