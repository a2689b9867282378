#include "net/http_transfer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <exception>
#include <utility>

namespace millrace {
namespace {

struct UrlDeleter {
  void operator()(CURLU* url) const { curl_url_cleanup(url); }
};

std::string part_of(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK) return {};
  std::string copy = text;
  curl_free(text);
  return copy;
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host.ends_with(".localhost") || host.starts_with("127.") || host == "[::1]";
}

// A line break in a field would add fields, or a second request.
bool is_one_line(std::string_view text) {
  return text.find_first_of(std::string_view("\r\n\0", 3)) == text.npos;
}

Errc code_of(CURLcode code) {
  switch (code) {
    case CURLE_OPERATION_TIMEDOUT: return Errc::deadline_exceeded;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT: return Errc::invalid_argument;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR: return Errc::failed_precondition;
    case CURLE_OUT_OF_MEMORY: return Errc::resource_exhausted;
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_UNKNOWN_OPTION:
    case CURLE_FAILED_INIT: return Errc::internal;
    default: return Errc::unavailable;
  }
}

}  // namespace

HttpTransfer::HttpTransfer(EventLoop& loop, HttpClientRequest request, const HttpClient::Options& options)
    : request_(std::move(request)), options_(options), done_(loop), easy_(curl_easy_init()) {
  error_text_.resize(CURL_ERROR_SIZE);
}

template <class Value>
void HttpTransfer::set(CURLoption option, Value value) {
  const CURLcode code = curl_easy_setopt(easy_.get(), option, value);  // NOLINT: C's variadic interface
  if (code == CURLE_OK || failure_) return;
  failure_ = Error{.code = Errc::internal,
                   .message = name_ + ": option " + std::to_string(option) + ": " + curl_easy_strerror(code),
                   .retry_after = {}};
}

Result<void> HttpTransfer::prepare() {
  if (!easy_) return fail(Errc::resource_exhausted, "HTTP request: out of memory");
  if (auto parsed = parse_url(); !parsed) return parsed;
  set(CURLOPT_ERRORBUFFER, error_text_.data());
  set(CURLOPT_PRIVATE, static_cast<void*>(this));
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_PATH_AS_IS, 1L);  // "a/../b" is a key of an object, not a path to tidy up
  set(CURLOPT_USERAGENT, options_.user_agent.c_str());
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(request_.connect.count()));
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(request_.total.count()));
  set_body();
  set_callbacks();
  if (auto added = add_headers(); !added) return added;
  if (failure_) return fail(*failure_);
  return {};
}

Result<void> HttpTransfer::parse_url() {
  const std::unique_ptr<CURLU, UrlDeleter> url(curl_url());
  const bool known_method =
      !request_.method.empty() && std::ranges::all_of(request_.method, [](char c) { return c >= 'A' && c <= 'Z'; });
  if (!known_method) return fail(Errc::invalid_argument, "HTTP request: '" + request_.method + "' is no method");
  if (!url || curl_url_set(url.get(), CURLUPART_URL, request_.url.c_str(), 0) != CURLUE_OK) {
    return fail(Errc::invalid_argument, request_.method + ": the URL is malformed; expected http://host:port/path");
  }
  const std::string host = part_of(url.get(), CURLUPART_HOST);
  const std::string port = part_of(url.get(), CURLUPART_PORT);
  name_ = request_.method + " " + part_of(url.get(), CURLUPART_SCHEME) + "://" + host +
          (port.empty() ? "" : ":" + port) + part_of(url.get(), CURLUPART_PATH);
  set(CURLOPT_URL, request_.url.c_str());
  if (is_loopback(host)) set(CURLOPT_PROXY, "");
  return {};
}

Result<void> HttpTransfer::add_headers() {
  for (const auto& [field, value] : request_.headers) {
    if (field.empty() || !is_one_line(field) || !is_one_line(value)) {
      return fail(Errc::invalid_argument, name_ + ": header '" + field + "' is not one line");
    }
    // libcurl's own notation: a field without a value ends in a semicolon.
    const std::string line = value.empty() ? field + ";" : field + ": " + value;
    curl_slist* longer = curl_slist_append(headers_.get(), line.c_str());
    if (longer == nullptr) return fail(Errc::resource_exhausted, name_ + ": out of memory");
    (void)headers_.release();
    headers_.reset(longer);
  }
  if (headers_) set(CURLOPT_HTTPHEADER, headers_.get());
  return {};
}

void HttpTransfer::set_body() {
  const std::string& method = request_.method;
  if (request_.body_file.fd >= 0) {
    set(CURLOPT_UPLOAD, 1L);
    set(CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(request_.body_file.bytes));
  } else if (!request_.body.empty() || method == "POST" || method == "PUT" || method == "PATCH") {
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request_.body.size()));
    set(CURLOPT_POSTFIELDS, request_.body.data());
    // Not what libcurl thinks a body is.
    if (!request_.headers.contains("Content-Type")) request_.headers.add("Content-Type", "application/octet-stream");
  } else if (method == "HEAD") {
    set(CURLOPT_NOBODY, 1L);
  }
  set(CURLOPT_CUSTOMREQUEST, method.c_str());
}

void HttpTransfer::set_callbacks() {
  void* self = this;
  set(CURLOPT_HEADERFUNCTION, &HttpTransfer::on_header);
  set(CURLOPT_HEADERDATA, self);
  set(CURLOPT_WRITEFUNCTION, &HttpTransfer::on_body);
  set(CURLOPT_WRITEDATA, self);
  set(CURLOPT_READFUNCTION, &HttpTransfer::on_upload);
  set(CURLOPT_READDATA, self);
  set(CURLOPT_SEEKFUNCTION, &HttpTransfer::on_seek);
  set(CURLOPT_SEEKDATA, self);
  if (!request_.on_progress) return;
  set(CURLOPT_NOPROGRESS, 0L);
  set(CURLOPT_XFERINFOFUNCTION, &HttpTransfer::on_progress);
  set(CURLOPT_XFERINFODATA, self);
}

namespace {

// Runs a callback's work; whatever goes wrong is kept, and `failed` tells libcurl to give up.
template <class Work, class Value>
Value guarded(std::optional<Error>& failure, Value failed, Work work) {
  try {
    const auto done = work();
    if (done) return *done;
    failure = done.error();
  } catch (const std::exception& exception) {
    failure = Error{.code = Errc::internal, .message = exception.what(), .retry_after = {}};
  }
  return failed;
}

}  // namespace

std::size_t HttpTransfer::on_header(char* data, std::size_t, std::size_t count, void* transfer) {
  auto& self = *static_cast<HttpTransfer*>(transfer);
  return guarded(self.failure_, std::size_t{0}, [&]() -> Result<std::size_t> {
    if (auto taken = self.take_header({data, count}); !taken) return fail(taken.error());
    return count;
  });
}

std::size_t HttpTransfer::on_body(char* data, std::size_t, std::size_t count, void* transfer) {
  auto& self = *static_cast<HttpTransfer*>(transfer);
  return guarded(self.failure_, std::size_t{0}, [&]() -> Result<std::size_t> {
    if (auto taken = self.take_body({data, count}); !taken) return fail(taken.error());
    return count;
  });
}

std::size_t HttpTransfer::on_upload(char* data, std::size_t size, std::size_t count, void* transfer) {
  auto& self = *static_cast<HttpTransfer*>(transfer);
  return guarded(self.failure_, std::size_t{CURL_READFUNC_ABORT},
                 [&]() -> Result<std::size_t> { return self.give_body(data, size * count); });
}

// A kept connection that turns out to be closed makes libcurl start over.
int HttpTransfer::on_seek(void* transfer, curl_off_t offset, int origin) {
  auto& self = *static_cast<HttpTransfer*>(transfer);
  if (origin != SEEK_SET || offset < 0) return CURL_SEEKFUNC_CANTSEEK;
  self.uploaded_ = static_cast<std::uint64_t>(offset);
  return CURL_SEEKFUNC_OK;
}

int HttpTransfer::on_progress(void* transfer, curl_off_t receive_total, curl_off_t received, curl_off_t,
                              curl_off_t sent) {
  auto& self = *static_cast<HttpTransfer*>(transfer);
  return guarded(self.failure_, 1, [&]() -> Result<int> {
    self.request_.on_progress({.sent_bytes = static_cast<std::uint64_t>(sent),
                               .received_bytes = static_cast<std::uint64_t>(received),
                               .receive_total_bytes = static_cast<std::uint64_t>(receive_total)});
    return 0;
  });
}

Result<void> HttpTransfer::take_header(std::string_view line) {
  header_bytes_ += line.size();
  if (header_bytes_ > options_.response_header_bytes_max) {
    return fail(Errc::too_large, name_ + ": the header of the answer is larger than " +
                                     std::to_string(options_.response_header_bytes_max) + " bytes");
  }
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  if (line.starts_with("HTTP/")) {  // also after "100 Continue": what counts is the last one
    response_.headers = {};
    response_.status = 0;
    const std::size_t space = std::min(line.find(' '), line.size() - 1);
    std::from_chars(line.data() + space + 1, line.data() + line.size(), response_.status);
    return {};
  }
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return {};
  std::string_view value = line.substr(colon + 1);
  while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
  response_.headers.add(std::string(line.substr(0, colon)), std::string(value));
  return {};
}

Result<void> HttpTransfer::take_body(std::string_view piece) {
  const bool good = response_.status >= 200 && response_.status < 300;
  if (good && request_.on_piece) {
    request_.on_piece(piece);
    return {};
  }
  if (good && request_.response_fd >= 0) {
    while (!piece.empty()) {
      const ssize_t written = ::write(request_.response_fd, piece.data(), piece.size());
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return fail(error_from_errno(errno, name_ + ": write the answer to its file"));
      piece.remove_prefix(static_cast<std::size_t>(written));
    }
    return {};
  }
  if (response_.body.size() + piece.size() > request_.response_bytes_max) {
    return fail(Errc::too_large,
                name_ + ": the answer is larger than " + std::to_string(request_.response_bytes_max) + " bytes");
  }
  response_.body.append(piece);
  return {};
}

Result<std::size_t> HttpTransfer::give_body(char* data, std::size_t room) {
  const HttpFileBody& file = request_.body_file;
  const std::size_t wanted = std::min<std::uint64_t>(room, file.bytes - std::min(file.bytes, uploaded_));
  if (wanted == 0) return 0;
  ssize_t got = 0;
  do got = ::pread(file.fd, data, wanted, static_cast<off_t>(file.offset + uploaded_));
  while (got < 0 && errno == EINTR);
  if (got < 0) return fail(error_from_errno(errno, name_ + ": read the file to send"));
  if (got == 0) return fail(Errc::failed_precondition, name_ + ": the file became shorter while it was sent");
  uploaded_ += static_cast<std::uint64_t>(got);
  return static_cast<std::size_t>(got);
}

Result<HttpClientResponse> HttpTransfer::take_result(CURLcode code) {
  if (failure_) return fail(std::move(*failure_));
  if (code == CURLE_OK) return std::move(response_);
  const std::string words = error_text_.substr(0, error_text_.find(char{0}));
  return fail(code_of(code), name_ + ": " + (words.empty() ? curl_easy_strerror(code) : words));
}

}  // namespace millrace
