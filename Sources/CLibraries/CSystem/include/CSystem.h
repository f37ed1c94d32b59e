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
