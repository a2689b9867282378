#include "app/host_image_options.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <filesystem>
#include <system_error>

#include "app/config_lists.h"
#include "app/host_check.h"

namespace millrace {
namespace {

using View = std::string_view;

constexpr std::size_t kPathsMax = 64;  // of each option, as the launcher takes them

// What a container has of the host in any case, and what it has of its own, which nothing may cover.
constexpr std::array<View, 9> kShownAnyway{"/usr", "/etc",   "/opt",   "/bin",   "/sbin",
                                           "/lib", "/lib32", "/lib64", "/libx32"};
constexpr std::array<View, 7> kOwn{"/dev", "/oscar", "/proc", "/run", "/sys", "/tmp", "/var/tmp"};

bool is_below(View path, View directory) {
  return path.size() > directory.size() && path.starts_with(directory) && path[directory.size()] == '/';
}
bool is_at_or_below(View path, View directory) {
  return path == directory || is_below(path, directory);
}
bool overlap(View one, View other) {
  return is_at_or_below(one, other) || is_at_or_below(other, one);
}

std::string in_quotes(View path) {
  return "'" + std::string(path) + "'";
}

Result<void> set_paths(std::vector<std::string>& paths, View value) {
  paths.clear();
  for (const View path : list_entries(value)) {
    if (!is_plain_path(path)) {
      return fail(Errc::invalid_argument, in_quotes(path) +
                                              " is not a plain absolute path: no '.', '..', '//' in it, no "
                                              "'/' at its end");
    }
    if (paths.size() >= kPathsMax) return fail(Errc::invalid_argument, "more than " + std::to_string(kPathsMax));
    paths.emplace_back(path);
  }
  return {};
}

std::unexpected<Error> refused(View option, View path, const std::string& why) {
  return fail(Errc::invalid_argument, std::string(option) + ": " + in_quotes(path) + " " + why);
}

Result<void> check_shown(const std::vector<std::string>& show) {
  for (const auto& path : show) {
    for (const View own : kOwn) {
      if (overlap(path, own)) {
        return refused("host_image_show", path,
                       "would cover " + std::string(own) + ", which every container has of its own");
      }
    }
    const auto shows = [&path](View other) { return is_at_or_below(path, other); };
    if (const auto* const part = std::ranges::find_if(kShownAnyway, shows); part != kShownAnyway.end()) {
      return refused("host_image_show", path, "is seen anyway, with " + std::string(*part));
    }
    for (const auto& other : show) {
      if (&other != &path && shows(other)) return refused("host_image_show", path, "is seen anyway, with " + other);
    }
  }
  return {};
}

Result<void> check_hidden(const std::vector<std::string>& hide, const std::vector<std::string>& show) {
  for (const auto& path : hide) {
    const auto holds = [&path](View directory) { return is_below(path, directory); };
    if (!std::ranges::any_of(kShownAnyway, holds) && !std::ranges::any_of(show, holds)) {
      return refused("host_image_hide", path,
                     "does not lie in what functions see: below /usr, /etc, /opt, or a directory of host_image_show");
    }
    for (const auto& other : hide) {
      if (&other != &path && is_at_or_below(path, other)) {
        return refused("host_image_hide", path, "is hidden anyway, with " + other);
      }
    }
  }
  return {};
}

// Where the server's own data really lies.
std::vector<std::string> own_data(const Config& config) {
  std::vector<std::string> directories{config.data};
  if (!config.bucket_directory.empty()) directories.push_back(config.bucket_directory);
  for (const auto& [name, directory] : config.buckets) directories.push_back(directory);
  for (auto& directory : directories) {
    std::error_code error;
    auto real = std::filesystem::weakly_canonical(std::filesystem::absolute(directory, error), error).string();
    if (!error) directory = std::move(real);
    while (directory.size() > 1 && directory.back() == '/') directory.pop_back();
  }
  return directories;
}

}  // namespace

Result<void> set_host_image_show(Config& config, View value) {
  return set_paths(config.host_image_show, value);
}

Result<void> set_host_image_hide(Config& config, View value) {
  return set_paths(config.host_image_hide, value);
}

Result<void> check_host_image(const Config& config) {
  if (const auto good = check_shown(config.host_image_show); !good) return good;
  return check_hidden(config.host_image_hide, config.host_image_show);
}

Result<void> check_host_image_paths(const Config& config) {
  const auto data = own_data(config);
  for (const auto& path : config.host_image_show) {
    if (const auto real = check_real_name("host_image_show", path); !real) return real;
    std::error_code error;
    if (!std::filesystem::is_directory(path, error)) {
      return fail(Errc::failed_precondition, "host_image_show: there is no directory " + in_quotes(path));
    }
    const auto own = std::ranges::find_if(data, [&path](const std::string& other) { return overlap(path, other); });
    if (own != data.end()) {
      return fail(Errc::failed_precondition, "host_image_show: " + in_quotes(path) +
                                                 " would show functions the server's own data in " + in_quotes(*own) +
                                                 "; give the data another place, or list less");
    }
  }
  for (const auto& path : config.host_image_hide) {
    if (const auto real = check_real_name("host_image_hide", path); !real) return real;
  }
  return {};
}

std::vector<std::string> host_image_flags(const Config& config) {
  std::vector<std::string> flags;
  for (const auto& path : config.host_image_show) flags.push_back("--show=" + path);
  for (const auto& path : config.host_image_hide) flags.push_back("--hide=" + path);
  return flags;
}

}  // namespace millrace
