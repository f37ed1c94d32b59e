import CSQLite

/// A compiled statement: bind, step through its rows, reset, and again. Parameters count from 1, columns from 0.
///
/// Bound values stay bound over `reset`.
public final class SQLiteStatement {
  private let handle: OpaquePointer
  private let connection: SQLiteConnection

  init(_ handle: OpaquePointer, _ connection: SQLiteConnection) {
    self.handle = handle
    self.connection = connection
  }

  deinit { sqlite3_finalize(handle) }

  // MARK: Parameters

  @inline(__always)
  public func bind(_ index: Int, _ value: Int64) throws(SQLiteError) {
    try check(sqlite3_bind_int64(handle, Int32(truncatingIfNeeded: index), value))
  }

  public func bind(_ index: Int, _ value: Int) throws(SQLiteError) { try bind(index, Int64(value)) }

  @inline(__always)
  public func bindNull(_ index: Int) throws(SQLiteError) {
    try check(sqlite3_bind_null(handle, Int32(truncatingIfNeeded: index)))
  }

  /// Binds a copy of the text.
  public func bind(_ index: Int, _ value: String) throws(SQLiteError) {
    var value = value
    let code = value.withUTF8 { bytes in
      // An empty string's pointer may be nil, which would bind NULL.
      guard let start = bytes.baseAddress else {
        return databus_sqlite3_bind_text_copy(handle, Int32(truncatingIfNeeded: index), "", 0)
      }
      return start.withMemoryRebound(to: CChar.self, capacity: bytes.count) {
        databus_sqlite3_bind_text_copy(handle, Int32(truncatingIfNeeded: index), $0, UInt64(bytes.count))
      }
    }
    try check(code)
  }

  public func bind(_ index: Int, _ value: String?) throws(SQLiteError) {
    if let value { try bind(index, value) } else { try bindNull(index) }
  }

  /// Binds a copy of the bytes as a blob; an empty array is an empty blob and not NULL.
  public func bind(_ index: Int, _ value: [UInt8]) throws(SQLiteError) {
    let code = value.withUnsafeBytes { bytes in
      guard let start = bytes.baseAddress, bytes.count > 0 else {
        return sqlite3_bind_zeroblob(handle, Int32(truncatingIfNeeded: index), 0)
      }
      return databus_sqlite3_bind_blob_copy(handle, Int32(truncatingIfNeeded: index), start, UInt64(bytes.count))
    }
    try check(code)
  }

  /// Binds bytes as a blob without copying them: they must stay as they are until the statement has been reset and this
  /// parameter bound anew.
  @inline(__always)
  public func bindBorrowed(_ index: Int, _ start: UnsafeRawPointer, _ count: Int) throws(SQLiteError) {
    let index = Int32(truncatingIfNeeded: index)
    try check(
      count == 0
        ? sqlite3_bind_zeroblob(handle, index, 0)
        : databus_sqlite3_bind_blob_borrowed(handle, index, start, UInt64(count)))
  }

  public func clearBindings() { sqlite3_clear_bindings(handle) }

  // MARK: Running

  /// - Returns: whether there is a row to look at.
  @inline(__always)
  public func step() throws(SQLiteError) -> Bool {
    let code = sqlite3_step(handle)
    if code == SQLITE_ROW { return true }
    if code == SQLITE_DONE { return false }
    let error = connection.error(code)
    sqlite3_reset(handle)
    throw error
  }

  /// Makes the statement ready to run again. An error that it ended with was thrown by `step`.
  @inline(__always)
  public func reset() { sqlite3_reset(handle) }

  /// Runs the statement to its end and resets it.
  @inline(__always)
  public func run() throws(SQLiteError) {
    while try step() {}
    reset()
  }

  /// Calls `body` with the first row, then resets.
  public func first<R>(_ body: (SQLiteStatement) throws -> R) throws -> R? {
    defer { reset() }
    return try step() ? try body(self) : nil
  }

  /// Calls `body` with every row, then resets.
  public func eachRow(_ body: (SQLiteStatement) throws -> Void) throws {
    defer { reset() }
    while try step() { try body(self) }
  }

  // MARK: Columns of the present row

  @inline(__always)
  public func isNull(_ column: Int) -> Bool {
    sqlite3_column_type(handle, Int32(truncatingIfNeeded: column)) == SQLITE_NULL
  }

  @inline(__always)
  public func integer(_ column: Int) -> Int64 {
    sqlite3_column_int64(handle, Int32(truncatingIfNeeded: column))
  }

  /// nil for NULL.
  public func text(_ column: Int) -> String? {
    guard let bytes = blob(column) else { return nil }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// The bytes of a blob or a text, valid until the next step or reset; nil for NULL, and an empty buffer for an empty blob.
  @inline(__always)
  public func blob(_ column: Int) -> UnsafeRawBufferPointer? {
    let column = Int32(truncatingIfNeeded: column)
    if let start = sqlite3_column_blob(handle, column) {
      return UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, column)))
    }
    if sqlite3_column_type(handle, column) == SQLITE_NULL { return nil }
    return UnsafeRawBufferPointer(start: nil, count: 0)
  }

  /// A copy of the bytes; nil for NULL.
  public func bytes(_ column: Int) -> [UInt8]? { blob(column).map { [UInt8]($0) } }

  @inline(__always)
  private func check(_ code: Int32) throws(SQLiteError) {
    if code != SQLITE_OK { throw connection.error(code) }
  }
}
