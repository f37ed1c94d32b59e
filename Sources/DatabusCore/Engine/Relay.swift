/// Hands records on as they are: what a pipeline does whose records are no events.
enum Relay {
  /// Makes one delivery of each record that `batch` holds.
  static func route(_ batch: RoutedBatch) {
    guard let assignment = batch.assignment else { return }
    batch.outputs.pointee.origin = assignment.partition
    _ = batch.withRecords { records in
      for index in 0..<records.count {
        let record = records.raw(at: index)
        batch.outputs.pointee.append(
          key: record.key.map { UnsafeRawBufferPointer(start: $0, count: Int(record.keyCount)) },
          value: record.value.map { UnsafeRawBufferPointer(start: $0, count: Int(record.valueCount)) },
          headers: records.headers(at: index),
          timestamp: record.timestamp == RawRecord.noTimestamp ? batch.timestamp : record.timestamp,
          token: Token(
            tracker: batch.tracker, slot: batch.firstSlot &+ UInt32(truncatingIfNeeded: index), ordinal: 0
          ).rawValue,
          position: record.position)
        batch.outstanding[index] = 1
      }
      batch.delivered = records.count
    }
  }
}
