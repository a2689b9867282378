// What kind of data bytes are, for whoever is told nothing: by the name of their file, else by looking at them.
#pragma once

#include <string_view>

namespace millrace {

// Always an answer: "application/octet-stream" for what is neither JSON nor text.
[[nodiscard]] std::string_view guess_media_type(std::string_view file_name, std::string_view data);

// Whether the data of such a type is JSON: "application/json", "text/json" and what ends with "+json".
[[nodiscard]] bool is_json_type(std::string_view media_type);

// The type without its parameters and the blanks around it.
[[nodiscard]] std::string_view without_parameters(std::string_view media_type);

// Whether two types are the same but for case and parameters.
[[nodiscard]] bool same_media_type(std::string_view one, std::string_view other);

}  // namespace millrace
