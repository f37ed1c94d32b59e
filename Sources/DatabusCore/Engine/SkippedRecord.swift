/// A record that an operator sets aside without routing it: one that ends the process each time it is routed.
public struct SkippedRecord: Sendable {
  public let partition: PartitionID
  /// Where it stands.
  public let position: UInt64
  /// Where the pipeline goes on.
  public let next: UInt64
  private let letter: DeadLetterWriter.Letter

  /// Copies a record out of its batch.
  ///
  /// - Parameter detail: why it is skipped, for the dead letter.
  public init(_ batch: borrowing RecordBatch, at index: Int, detail: String) {
    let raw = batch.raw(at: index)
    partition = batch.assignment.partition
    position = raw.position
    next = raw.next
    letter = DeadLetterWriter.Letter(
      partition: batch.assignment.partition, position: raw.position,
      timestamp: raw.timestamp == RawRecord.noTimestamp ? nil : raw.timestamp, reason: .skipped, detail: detail,
      place: batch.storage.place(of: index),
      key: raw.key.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: Int(raw.keyCount))) },
      value: raw.value.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: Int(raw.valueCount))) },
      headers: batch.headers(at: index))
  }

  /// Appends the record's dead letter, with the reason `skipped`. Its id is the same each time.
  ///
  /// - Parameters:
  ///   - capabilities: of the sink that it goes to.
  ///   - timestamp: milliseconds since 1970.
  public func appendDeadLetter(
    to batch: inout DeliveryBatch, capabilities: SinkCapabilities, timestamp: Int64, token: UInt64
  ) {
    DeadLetterWriter(capabilities: capabilities).append(letter, timestamp: timestamp, token: token, to: &batch)
  }
}
