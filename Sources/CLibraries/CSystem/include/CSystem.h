// What the system's headers hide from Swift's importer: GNU extensions, macros and enums.
// Only plain types stand here: including system headers with other feature macros than the
// importer's own would define their types twice.
#pragma once
#include <stdint.h>

/// Asks for the cache line at `address`, which will be read soon. Any address will do.
static inline void databus_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

/// Names the calling thread as the system's tools show it; the first 15 bytes count.
void databus_name_thread(const char *name);

/// User and system time of this process in nanoseconds, and its peak resident size in bytes.
typedef struct {
  uint64_t userNanoseconds;
  uint64_t systemNanoseconds;
  uint64_t peakResidentBytes;
} databus_resource_usage;

databus_resource_usage databus_process_usage(void);

/// Lets all threads of the process, and those that they start, run on the first `count` of its processors only.
/// Returns how many it was given; 0 where the system refuses.
int32_t databus_use_processors(int32_t count);

/// The processors that this process may run on, at least 1: fewer than the machine has where an operator says so
/// (`taskset`, a container's cpuset).
int databus_available_processors(void);

// epoll, which Swift's module of the C library leaves out.

static const uint32_t databus_epoll_in = 0x001;
static const uint32_t databus_epoll_out = 0x004;
static const uint32_t databus_epoll_error = 0x008;
static const uint32_t databus_epoll_hang_up = 0x010;
/// Told once per change, not for as long as it lasts.
static const uint32_t databus_epoll_edge = 1u << 31;

typedef struct {
  int32_t descriptor;
  uint32_t events;
} databus_epoll_event;

/// A set of watched descriptors; -1 with `errno` where the system refuses.
int databus_epoll_create(void);
/// Watches a descriptor that is not watched yet. -1 with `errno` where the system refuses; so with the next two.
int databus_epoll_add(int epoll, int descriptor, uint32_t events);
int databus_epoll_change(int epoll, int descriptor, uint32_t events);
int databus_epoll_remove(int epoll, int descriptor);
/// Fills `events` with what has happened and returns how many; 0 after `milliseconds` (-1: waits for ever) or a signal,
/// -1 with `errno`.
int databus_epoll_wait(int epoll, databus_epoll_event *events, int capacity, int milliseconds);

/// A descriptor that becomes readable by `databus_event_signal`; -1 with `errno`. It never blocks.
int databus_event_create(void);
void databus_event_signal(int event);
