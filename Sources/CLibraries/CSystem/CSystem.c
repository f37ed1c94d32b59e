#define _GNU_SOURCE
#include "CSystem.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

void databus_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

static uint64_t nanoseconds(struct timeval time) {
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_usec * 1000u;
}

databus_resource_usage databus_process_usage(void) {
  struct rusage usage;
  databus_resource_usage result = {0, 0, 0};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    result.userNanoseconds = nanoseconds(usage.ru_utime);
    result.systemNanoseconds = nanoseconds(usage.ru_stime);
    result.peakResidentBytes = (uint64_t)usage.ru_maxrss * 1024u;
  }
  return result;
}

int32_t databus_use_processors(int32_t count) {
  // What the process may use is asked for once: later calls can widen again.
  static cpu_set_t all;
  static int known = 0;
  if (!known) {
    if (sched_getaffinity(0, sizeof all, &all) != 0) { return 0; }
    known = 1;
  }
  cpu_set_t chosen;
  CPU_ZERO(&chosen);
  int32_t given = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE && given < count; cpu++) {
    if (CPU_ISSET(cpu, &all)) {
      CPU_SET(cpu, &chosen);
      given++;
    }
  }
  if (sched_setaffinity(0, sizeof chosen, &chosen) != 0) { return 0; }
  DIR *threads = opendir("/proc/self/task");
  if (threads == NULL) { return 0; }
  for (struct dirent *entry = readdir(threads); entry != NULL; entry = readdir(threads)) {
    // A thread that has ended meanwhile needs no processor.
    if (entry->d_name[0] != '.') { sched_setaffinity(atoi(entry->d_name), sizeof chosen, &chosen); }
  }
  closedir(threads);
  return given;
}

int databus_available_processors(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  int count = CPU_COUNT(&set);
  return count > 0 ? count : 1;
}

_Static_assert(EPOLLIN == 0x001 && EPOLLOUT == 0x004 && EPOLLERR == 0x008 && EPOLLHUP == 0x010, "as CSystem.h says");
_Static_assert((uint32_t)EPOLLET == 1u << 31, "as CSystem.h says");

int databus_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

static int control(int epoll, int operation, int descriptor, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = descriptor};
  return epoll_ctl(epoll, operation, descriptor, &event);
}

int databus_epoll_add(int epoll, int descriptor, uint32_t events) {
  return control(epoll, EPOLL_CTL_ADD, descriptor, events);
}

int databus_epoll_change(int epoll, int descriptor, uint32_t events) {
  return control(epoll, EPOLL_CTL_MOD, descriptor, events);
}

int databus_epoll_remove(int epoll, int descriptor) { return control(epoll, EPOLL_CTL_DEL, descriptor, 0); }

int databus_epoll_wait(int epoll, databus_epoll_event *events, int capacity, int milliseconds) {
  struct epoll_event found[256];
  int count = epoll_wait(epoll, found, capacity < 256 ? capacity : 256, milliseconds);
  if (count < 0) return errno == EINTR ? 0 : -1;
  for (int index = 0; index < count; index++) {
    events[index].descriptor = found[index].data.fd;
    events[index].events = found[index].events;
  }
  return count;
}

int databus_event_create(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

void databus_event_signal(int event) {
  uint64_t one = 1;
  // One that is full is readable already.
  ssize_t written = write(event, &one, sizeof one);
  (void)written;
}
