// hiredis's API for Swift: the header, and what its structures and its calls hide from Swift.
#pragma once
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

/// hiredis's own words for the last error of a connection; valid until its next call.
static inline const char *databus_redis_error_text(const redisContext *context) { return context->errstr; }

/// Whether the last error of a connection was a wait that took too long. `error` is the `errno` that the call left: before 1.0
/// hiredis has no code of its own for it.
static inline int databus_redis_is_timeout(const redisContext *context, int error) {
#ifdef REDIS_ERR_TIMEOUT
  if (context->err == REDIS_ERR_TIMEOUT) return 1;
#endif
  return context->err == REDIS_ERR_IO && (error == EAGAIN || error == EWOULDBLOCK || error == ETIMEDOUT);
}

/// Children of this process do not inherit the connection.
static inline void databus_redis_close_on_exec(const redisContext *context) {
  int flags = fcntl(context->fd, F_GETFD);
  if (flags >= 0) fcntl(context->fd, F_SETFD, flags | FD_CLOEXEC);
}

/// Sends everything that was appended. hiredis writes in a way that raises SIGPIPE where the other end is gone: here that is an
/// error and not the end of the process, whatever the program does about the signal.
static inline int databus_redis_flush(redisContext *context, int *error) {
  sigset_t pipe, before, pending;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  sigpending(&pending);
  int waited = sigismember(&pending, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, &before);
  int done = 0, status = REDIS_OK;
  while (status == REDIS_OK && !done) status = redisBufferWrite(context, &done);
  *error = errno;
  if (status != REDIS_OK && !waited) {
    const struct timespec now = {0, 0};
    while (sigtimedwait(&pipe, 0, &now) == -1 && errno == EINTR) {}
  }
  pthread_sigmask(SIG_SETMASK, &before, 0);
  return status;
}

/// The next reply, waiting for it; NULL where there is an error.
static inline redisReply *databus_redis_next_reply(redisContext *context, int *error) {
  void *reply = 0;
  int status = redisGetReply(context, &reply);
  *error = errno;
  return status == REDIS_OK ? (redisReply *)reply : 0;
}
