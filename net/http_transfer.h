// One request of the client and its answer, as libcurl's callbacks see them. Private to the client.
#pragma once

#include <curl/curl.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "async/one_shot.h"
#include "core/error.h"
#include "net/http_client.h"

namespace millrace {

struct CurlEasyDeleter {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct CurlListDeleter {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

class HttpTransfer {
 public:
  HttpTransfer(EventLoop& loop, HttpClientRequest request, const HttpClient::Options& options);
  HttpTransfer(const HttpTransfer&) = delete;
  HttpTransfer& operator=(const HttpTransfer&) = delete;
  ~HttpTransfer() = default;

  // Once, before the transfer begins.
  [[nodiscard]] Result<void> prepare();

  [[nodiscard]] CURL* easy() const { return easy_.get(); }
  [[nodiscard]] const OneShot<std::optional<CURLcode>>& done() const { return done_; }  // nothing: cancelled

  // What became of it.
  [[nodiscard]] Result<HttpClientResponse> take_result(CURLcode code);

  // "GET http://host/path", for messages: without credentials and query, which may hold a signature.
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  [[nodiscard]] Result<void> parse_url();
  [[nodiscard]] Result<void> add_headers();
  void set_body();
  void set_callbacks();
  template <class Value>
  void set(CURLoption option, Value value);

  // libcurl's callbacks; what they cannot go on from is kept in failure_.
  static std::size_t on_header(char* data, std::size_t size, std::size_t count, void* transfer);
  static std::size_t on_body(char* data, std::size_t size, std::size_t count, void* transfer);
  static std::size_t on_upload(char* data, std::size_t size, std::size_t count, void* transfer);
  static int on_seek(void* transfer, curl_off_t offset, int origin);
  static int on_progress(void* transfer, curl_off_t receive_total, curl_off_t received, curl_off_t send_total,
                         curl_off_t sent);

  [[nodiscard]] Result<void> take_header(std::string_view line);
  [[nodiscard]] Result<void> take_body(std::string_view piece);
  [[nodiscard]] Result<std::size_t> give_body(char* data, std::size_t room);

  HttpClientRequest request_;
  const HttpClient::Options& options_;
  OneShot<std::optional<CURLcode>> done_;
  std::unique_ptr<CURL, CurlEasyDeleter> easy_;
  std::unique_ptr<curl_slist, CurlListDeleter> headers_;
  std::string name_;
  std::string error_text_;  // libcurl's own words
  std::uint64_t uploaded_ = 0;
  std::size_t header_bytes_ = 0;
  HttpClientResponse response_;
  std::optional<Error> failure_;
};

}  // namespace millrace
