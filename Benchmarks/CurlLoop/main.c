// The least that a program over libcurl's multi interface can do: it sends the same request again and again.
//
//   curl-loop URL COUNT CONCURRENCY BODYBYTES [HEADER ...]
//
// CONCURRENCY requests are under way at a time, each by a handle that is used again, on one thread with epoll. COUNT 0:
// until it is killed. Prints requests a second and the processor time of one, and fails where an answer is not 2xx.
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

enum { events = 256 };

static int set;
static long timeout = -1;

static void fail(const char *what, const char *why) {
  fprintf(stderr, "curl-loop: %s: %s\n", what, why);
  exit(1);
}

static double seconds(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static int watch(CURL *easy, curl_socket_t descriptor, int what, void *context, void *known) {
  (void)easy;
  struct epoll_event event = {.data.fd = descriptor};
  if (what == CURL_POLL_REMOVE) {
    epoll_ctl(set, EPOLL_CTL_DEL, descriptor, &event);
    curl_multi_assign(context, descriptor, NULL);
    return 0;
  }
  if (what != CURL_POLL_OUT) event.events |= EPOLLIN;
  if (what != CURL_POLL_IN) event.events |= EPOLLOUT;
  if (epoll_ctl(set, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, descriptor, &event) != 0) fail("epoll", strerror(errno));
  if (!known) curl_multi_assign(context, descriptor, &set);
  return 0;
}

static int setTimer(CURLM *multi, long milliseconds, void *context) {
  (void)multi, (void)context;
  timeout = milliseconds;
  return 0;
}

static size_t take(char *bytes, size_t size, size_t count, void *context) {
  (void)bytes, (void)context;
  return size * count;
}

int main(int count, char **arguments) {
  if (count < 5) fail("usage", "URL COUNT CONCURRENCY BODYBYTES [HEADER ...]");
  const long wanted = atol(arguments[2]), concurrency = atol(arguments[3]), bodyBytes = atol(arguments[4]);
  if (wanted < 0 || concurrency < 1 || bodyBytes < 0) fail("usage", "numbers must not be negative");
  if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK) fail("libcurl", "does not start");
  char *body = malloc((size_t)bodyBytes + 1);
  if (!body) fail("body", "no memory");
  memset(body, 'x', (size_t)bodyBytes);

  CURLM *multi = curl_multi_init();
  set = epoll_create1(EPOLL_CLOEXEC);
  if (!multi || set < 0) fail("loop", strerror(errno));
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, multi);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, setTimer);
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, concurrency);

  struct curl_slist *head = curl_slist_append(NULL, "Content-Type: application/json");
  head = curl_slist_append(head, "Expect:");
  for (int index = 5; index < count; index++) head = curl_slist_append(head, arguments[index]);
  long started = 0, ended = 0;
  for (long index = 0; index < concurrency && (wanted == 0 || started < wanted); index++, started++) {
    CURL *easy = curl_easy_init();
    if (!easy) fail("handle", "no memory");
    curl_easy_setopt(easy, CURLOPT_URL, arguments[1]);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, head);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, bodyBytes);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
    curl_multi_add_handle(multi, easy);
  }

  const double begin = seconds(CLOCK_MONOTONIC), work = seconds(CLOCK_PROCESS_CPUTIME_ID);
  int running = 0;
  while (wanted == 0 || ended < wanted) {
    struct epoll_event found[events];
    const int ready = epoll_wait(set, found, events, (int)timeout);
    if (ready < 0 && errno != EINTR) fail("epoll", strerror(errno));
    if (ready == 0 || timeout == 0) curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
    for (int index = 0; index < ready; index++) {
      int what = 0;
      if (found[index].events & EPOLLIN) what |= CURL_CSELECT_IN;
      if (found[index].events & EPOLLOUT) what |= CURL_CSELECT_OUT;
      if (found[index].events & (EPOLLERR | EPOLLHUP)) what |= CURL_CSELECT_ERR;
      curl_multi_socket_action(multi, found[index].data.fd, what, &running);
    }
    int left = 0;
    for (CURLMsg *message; (message = curl_multi_info_read(multi, &left));) {
      CURL *easy = message->easy_handle;
      const CURLcode code = message->data.result;
      if (code != CURLE_OK) fail("a request failed", curl_easy_strerror(code));
      long status = 0;
      curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
      if (status < 200 || status > 299) fail("a request failed", "its answer is not 2xx");
      ended++;
      curl_multi_remove_handle(multi, easy);
      if (wanted == 0 || started < wanted) {
        started++;
        curl_multi_add_handle(multi, easy);
      } else {
        curl_easy_cleanup(easy);
      }
    }
  }
  const double wall = seconds(CLOCK_MONOTONIC) - begin, cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - work;
  printf("requests/s %.0f\nus/request %.2f\n", (double)ended / wall, cpu / (double)ended * 1e6);
  curl_multi_cleanup(multi);
  curl_slist_free_all(head);
  free(body);
  return 0;
}
