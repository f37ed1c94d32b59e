/// What a batch's memory belongs to: one object a batch, released once.
public protocol RecordStorage: AnyObject, Sendable {
  /// Gives the records' memory back. Called once, on any thread, when nothing looks at it any more.
  func release(_ records: UnsafeMutableBufferPointer<RawRecord>)
  /// The headers of the record at `index`, in order. Called only where they are needed.
  func headers(at index: Int) -> [Header]
  /// For people: where the record stands in the terms of its transport (`file:line:column`), where
  /// that says more than the locator.
  func place(of index: Int) -> String?
}

extension RecordStorage {
  public func headers(at index: Int) -> [Header] { [] }
  public func place(of index: Int) -> String? { nil }
}

/// Records of exactly one assignment, in order, in the transport's own memory.
///
/// A record that no rule wants costs no copy, no retain and no allocation. What must outlive the batch is
/// copied out of it.
public struct RecordBatch: ~Copyable, @unchecked Sendable {
  // Sendable: the records are written before the batch is made and only read afterwards; the one owner
  // of this value frees them.
  public let assignment: Assignment
  public let storage: any RecordStorage
  @usableFromInline let records: UnsafeMutableBufferPointer<RawRecord>
  /// Bytes that may be read behind every value. The JSON parser copies where there are fewer than 64.
  public let padding: Int
  /// The sum of the keys' and values' bytes.
  public let byteCount: Int

  /// - Parameters:
  ///   - records: owned by the batch from now on and given to `storage.release`.
  ///   - padding: bytes that may be read behind every record's value; 0 where the transport does not know.
  public init(
    assignment: Assignment, storage: any RecordStorage,
    records: UnsafeMutableBufferPointer<RawRecord>, byteCount: Int, padding: Int
  ) {
    self.assignment = assignment
    self.storage = storage
    self.records = records
    self.byteCount = byteCount
    self.padding = padding
  }

  deinit { storage.release(records) }

  public var count: Int { records.count }

  public subscript(index: Int) -> Record {
    @_lifetime(borrow self) get {
      precondition(index >= 0 && index < records.count)
      let record = Record(unchecked: records[index])
      return _overrideLifetime(record, borrowing: self)
    }
  }

  /// The record as the transport described it, for code that looks at no more than pointers.
  @inline(__always)
  func raw(at index: Int) -> RawRecord {
    precondition(index >= 0 && index < records.count)
    return records[index]
  }

  public func headers(at index: Int) -> [Header] { storage.headers(at: index) }
}
