#include "state/postgres/outputs.h"

#include <cstddef>
#include <string_view>

#include "state/postgres/columns.h"

namespace millrace::postgres {
namespace {

// Visits members one by one and adds each to the array of its column.
struct ArrayBinder {
  std::vector<Array>& arrays;
  std::size_t column = 0;
  template <class Value>
  void operator()(const char*, const Value& value) {
    Array& array = arrays[column++];
    if constexpr (std::integral<Value>) {
      array.add(static_cast<std::int64_t>(value));
    } else {
      array.add(std::string_view(value));
    }
  }
};

struct ArrayMaker {
  std::vector<Array> arrays = {};
  template <class Value>
  void operator()(const char*, const Value&) {
    arrays.emplace_back(kIsNumber<Value> ? Array::Of::numbers : Array::Of::bytes);
  }
};

struct ArrayTypes {
  int number;
  std::string list = {};
  template <class Value>
  void operator()(const char*, const Value&) {
    list.append(list.empty() ? "" : ", ").append(placeholder(number++)).append("::").append(type_of<Value>());
    list.append("[]");
  }
};

struct ArrayReader {
  const std::vector<std::vector<std::string_view>>& columns;
  std::size_t index;  // of the output
  std::size_t column = 0;
  template <class Value>
  void operator()(const char*, Value& value) {
    const std::string_view element = columns[column++][index];
    if constexpr (std::integral<Value>) {
      value = static_cast<Value>(take_number(element));
    } else {
      value = std::string(element);
    }
  }
};

}  // namespace

std::string output_placeholders(int first) {
  ArrayTypes types{first};
  const OutputFile none{};
  state::visit(types, none);
  return types.list;
}

int output_column_count() {
  return column_count<OutputFile>();
}

void bind_outputs(Parameters& parameters, const std::vector<OutputFile>& outputs) {
  ArrayMaker maker;
  const OutputFile none{};
  state::visit(maker, none);
  for (const OutputFile& output : outputs) {
    ArrayBinder binder{maker.arrays};
    state::visit(binder, output);
  }
  for (const Array& array : maker.arrays) parameters.add(array);
}

Result<std::vector<OutputFile>> read_outputs(const Answer& answer, int row, int first_column) {
  std::vector<std::vector<std::string_view>> columns;
  for (int i = 0; i < output_column_count(); ++i) columns.push_back(answer.elements(row, first_column + i));
  for (const auto& column : columns) {
    if (column.size() == columns.front().size()) continue;
    return fail(Errc::data_loss, "state store: the arrays of a run's outputs differ in length");
  }
  std::vector<OutputFile> outputs(columns.front().size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    ArrayReader reader{columns, i};
    state::visit(reader, outputs[i]);
  }
  return outputs;
}

}  // namespace millrace::postgres
