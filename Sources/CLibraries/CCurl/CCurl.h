// libcurl's API for Swift: the header, and what its variable arguments and macros hide from the importer.
#pragma once
#include <curl/curl.h>

static const long databus_curl_global_all = CURL_GLOBAL_ALL;
static const long databus_curl_tls_1_2 = CURL_SSLVERSION_TLSv1_2;
static const long databus_curl_http_1_1 = CURL_HTTP_VERSION_1_1;
static const long databus_curl_http_2_over_tls = CURL_HTTP_VERSION_2TLS;
static const int databus_curl_continue = CURL_PREREQFUNC_OK;
static const int databus_curl_abort = CURL_PREREQFUNC_ABORT;
static const curl_socket_t databus_curl_no_socket = CURL_SOCKET_BAD;
static const curl_socket_t databus_curl_timeout = CURL_SOCKET_TIMEOUT;

// What a URL is parsed with. A user's name is refused, bytes beyond ASCII are escaped.
static const unsigned int databus_curl_url_set_flags = CURLU_DISALLOW_USER | CURLU_URLENCODE;
static const unsigned int databus_curl_url_default_port = CURLU_DEFAULT_PORT;
static const unsigned int databus_curl_url_no_default_port = CURLU_NO_DEFAULT_PORT;

// One wrapper per type of argument. An option that takes another type than the wrapper's name says must not be given to
// it.

static inline CURLcode databus_curl_set_number(CURL *easy, CURLoption option, long value) {
  return curl_easy_setopt(easy, option, value);
}

static inline CURLcode databus_curl_set_size(CURL *easy, CURLoption option, curl_off_t value) {
  return curl_easy_setopt(easy, option, value);
}

/// libcurl copies the text; NULL takes the option back.
static inline CURLcode databus_curl_set_text(CURL *easy, CURLoption option, const char *value) {
  return curl_easy_setopt(easy, option, value);
}

/// What is pointed to is not copied.
static inline CURLcode databus_curl_set_pointer(CURL *easy, CURLoption option, void *value) {
  return curl_easy_setopt(easy, option, value);
}

/// The URL as it was parsed, which is not copied; NULL takes it back.
static inline CURLcode databus_curl_set_url(CURL *easy, CURLU *url) {
  return curl_easy_setopt(easy, CURLOPT_CURLU, url);
}

/// What a transfer calls. `context` goes to each of them, and is what `databus_curl_context` gives back; `sockets` goes
/// to `close`, since a connection outlives the transfer that opened it.
typedef struct {
  void *context;
  curl_write_callback head;
  curl_write_callback body;
  curl_opensocket_callback open;
  curl_prereq_callback begin;
  void *sockets;
  curl_closesocket_callback close;
} databus_curl_callbacks;

/// CURLE_OK, or why the first of them was not taken.
static inline CURLcode databus_curl_set_callbacks(CURL *easy, databus_curl_callbacks callbacks) {
  CURLcode code = curl_easy_setopt(easy, CURLOPT_PRIVATE, callbacks.context);
  if (!code) code = curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, callbacks.head);
  if (!code) code = curl_easy_setopt(easy, CURLOPT_HEADERDATA, callbacks.context);
  if (!code) code = curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, callbacks.body);
  if (!code) code = curl_easy_setopt(easy, CURLOPT_WRITEDATA, callbacks.context);
  if (!code) code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, callbacks.open);
  if (!code) code = curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, callbacks.context);
  if (!code) code = curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, callbacks.begin);
  if (!code) code = curl_easy_setopt(easy, CURLOPT_PREREQDATA, callbacks.context);
  if (!code) code = curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, callbacks.close);
  if (!code) code = curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, callbacks.sockets);
  return code;
}

/// 0 where there is none.
static inline long databus_curl_number(CURL *easy, CURLINFO info) {
  long value = 0;
  curl_easy_getinfo(easy, info, &value);
  return value;
}

/// A time in microseconds; 0 for what was not reached.
static inline curl_off_t databus_curl_time(CURL *easy, CURLINFO info) {
  curl_off_t value = 0;
  curl_easy_getinfo(easy, info, &value);
  return value;
}

/// What was set with `databus_curl_set_callbacks`.
static inline void *databus_curl_context(CURL *easy) {
  void *value = NULL;
  curl_easy_getinfo(easy, CURLINFO_PRIVATE, &value);
  return value;
}

static inline CURLMcode databus_curl_multi_set_number(CURLM *multi, CURLMoption option, long value) {
  return curl_multi_setopt(multi, option, value);
}

/// `context` goes to both of them.
static inline CURLMcode databus_curl_multi_set_callbacks(
    CURLM *multi, void *context, curl_socket_callback socket, curl_multi_timer_callback timer) {
  CURLMcode code = curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, socket);
  if (!code) code = curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, context);
  if (!code) code = curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, timer);
  if (!code) code = curl_multi_setopt(multi, CURLMOPT_TIMERDATA, context);
  return code;
}

/// The next transfer that has ended, and how; NULL where there is none.
static inline CURL *databus_curl_next_end(CURLM *multi, CURLcode *code) {
  int left = 0;
  for (;;) {
    CURLMsg *message = curl_multi_info_read(multi, &left);
    if (!message) return NULL;
    if (message->msg != CURLMSG_DONE) continue;
    *code = message->data.result;
    return message->easy_handle;
  }
}
