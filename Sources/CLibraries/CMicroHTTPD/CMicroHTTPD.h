// libmicrohttpd's API for Swift: the header, and what its variable arguments hide from the importer.
#pragma once
#include <microhttpd.h>

// The library's enumerations look different to the importer from release to release; these do not.
static const enum MHD_Result databus_mhd_yes = MHD_YES;
static const enum MHD_Result databus_mhd_no = MHD_NO;

/// Whether a connection has just come to be; otherwise it has ended.
static inline int databus_mhd_is_start(enum MHD_ConnectionNotificationCode code) {
  return code == MHD_CONNECTION_NOTIFY_STARTED;
}

/// Shows the headers of a request one after another.
static inline void databus_mhd_headers(
    struct MHD_Connection *connection, void *context, MHD_KeyValueIterator each) {
  MHD_get_connection_values(connection, MHD_HEADER_KIND, each, context);
}

/// The first header of this name, whatever its case; NULL where there is none.
static inline const char *databus_mhd_header(struct MHD_Connection *connection, const char *name) {
  return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/// What a body's reader returns at its end, and where it cannot go on: then the connection is closed.
static const ssize_t databus_mhd_end = MHD_CONTENT_READER_END_OF_STREAM;
static const ssize_t databus_mhd_failed = MHD_CONTENT_READER_END_WITH_ERROR;

/// The length of a body that has none.
static const uint64_t databus_mhd_no_length = MHD_SIZE_UNKNOWN;

/// An answer whose body is copied.
static inline struct MHD_Response *databus_mhd_response(const void *body, size_t count) {
  return MHD_create_response_from_buffer(count, (void *)body, MHD_RESPMEM_MUST_COPY);
}

/// What a daemon calls. `context` goes to each of them as its first argument.
typedef struct {
  void *context;
  /// The first line of a request has been read: what it returns becomes the request's own pointer.
  void *(*begin)(void *context, const char *target, struct MHD_Connection *connection);
  MHD_AccessHandlerCallback handle;
  MHD_RequestCompletedCallback completed;
  MHD_NotifyConnectionCallback connection;
} databus_mhd_callbacks;

/// Starts a daemon that runs inside `MHD_run`, so on the caller's thread, over epoll. It owns `listener` from then on.
///
/// `connection_bytes` bounds the memory of a connection, and with it the size of a request's head. There is no timeout: the
/// caller keeps time.
static inline struct MHD_Daemon *databus_mhd_start(
    int listener, unsigned int connections, size_t connection_bytes, databus_mhd_callbacks callbacks) {
  return MHD_start_daemon(
      MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, callbacks.handle, callbacks.context,
      MHD_OPTION_LISTEN_SOCKET, (MHD_socket)listener, MHD_OPTION_CONNECTION_LIMIT, connections,
      MHD_OPTION_CONNECTION_MEMORY_LIMIT, connection_bytes, MHD_OPTION_CONNECTION_TIMEOUT, 0u,
      MHD_OPTION_URI_LOG_CALLBACK, callbacks.begin, callbacks.context, MHD_OPTION_NOTIFY_COMPLETED, callbacks.completed,
      callbacks.context, MHD_OPTION_NOTIFY_CONNECTION, callbacks.connection, callbacks.context, MHD_OPTION_END);
}

/// The descriptor that is readable while `MHD_run` has something to do; -1 where there is none.
static inline int databus_mhd_epoll_descriptor(struct MHD_Daemon *daemon) {
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD);
  return info ? info->epoll_fd : -1;
}

/// The socket of a connection; -1 where there is none.
static inline int databus_mhd_connection_descriptor(struct MHD_Connection *connection) {
  const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  return info ? (int)info->connect_fd : -1;
}
