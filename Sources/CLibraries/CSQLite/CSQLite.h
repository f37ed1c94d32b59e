// SQLite's API for Swift: the header, and what its macros hide from the importer.
#pragma once
#include <sqlite3.h>

/// SQLITE_TRANSIENT: SQLite copies the bytes before the call returns.
static inline int databus_sqlite3_bind_blob_copy(
    sqlite3_stmt *statement, int index, const void *bytes, sqlite3_uint64 count) {
  return sqlite3_bind_blob64(statement, index, bytes, count, SQLITE_TRANSIENT);
}

/// SQLITE_STATIC: the bytes must stay as they are until the statement is reset or bound anew.
static inline int databus_sqlite3_bind_blob_borrowed(
    sqlite3_stmt *statement, int index, const void *bytes, sqlite3_uint64 count) {
  return sqlite3_bind_blob64(statement, index, bytes, count, SQLITE_STATIC);
}

static inline int databus_sqlite3_bind_text_copy(
    sqlite3_stmt *statement, int index, const char *text, sqlite3_uint64 count) {
  return sqlite3_bind_text64(statement, index, text, count, SQLITE_TRANSIENT, SQLITE_UTF8);
}

/// The first page of the file's WAL index, as SQLite has mapped it for this connection: valid until the connection is closed.
/// NULL where there is none. Asked of SQLite, because opening and closing the -shm file ourselves would drop SQLite's locks on it.
static inline const void *databus_sqlite3_wal_index(sqlite3 *connection) {
  sqlite3_file *file = 0;
  volatile void *page = 0;
  if (sqlite3_file_control(connection, "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK || !file ||
      !file->pMethods || file->pMethods->iVersion < 2 || !file->pMethods->xShmMap)
    return 0;
  if (file->pMethods->xShmMap(file, 0, 32768, 0, &page) != SQLITE_OK) return 0;
  return (const void *)page;
}

/// The checksum in the WAL index's header (sqlite.org/walformat.html, "The WAL-Index Header"): it changes with every commit.
static inline sqlite3_uint64 databus_sqlite3_wal_index_checksum(const void *index) {
  const volatile unsigned int *words = (const volatile unsigned int *)index;
  return (sqlite3_uint64)words[10] << 32 | words[11];
}
