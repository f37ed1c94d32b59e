import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// Lines on their way into a file, with the tokens of their deliveries.
final class OutputBuffer: @unchecked Sendable {
  // Sendable: filled under the sink's lock, and written by the one thread that took it out from under the lock.
  private var lines = OutputLines()

  var byteCount: Int { lines.bytes.count }
  var base: UnsafeRawPointer { lines.bytes.base }
  var isEmpty: Bool { lines.tokens.isEmpty }
  var tokens: [UInt64] { lines.tokens }

  /// Appends deliveries up to a number of lines and of bytes.
  ///
  /// - Parameter refused: gets the tokens of deliveries that cannot be lines.
  /// - Returns: how many deliveries were taken or refused.
  func append(
    _ batch: borrowing DeliveryBatch, from start: Int, lines limit: Int, bytes: Int, refused: inout [UInt64]
  ) -> Int {
    // One access to the class's memory for the whole batch: checked for each line it costs more than the copy.
    lines.append(batch, from: start, lines: limit, bytes: bytes, refused: &refused)
  }

  /// How many whole lines the first `count` bytes are, and the bytes of these.
  func lines(within count: Int) -> (lines: Int, bytes: Int) { lines.whole(within: count) }

  func removeAll() { lines.removeAll() }
}

private struct OutputLines: ~Copyable {
  var bytes = ByteBuffer(capacity: 64 << 10)
  var tokens: [UInt64] = []
  /// For each token the bytes up to the end of its line.
  private var ends: [Int] = []

  mutating func append(
    _ batch: borrowing DeliveryBatch, from start: Int, lines limit: Int, bytes most: Int, refused: inout [UInt64]
  ) -> Int {
    let first = bytes.count
    var room = limit
    var index = start
    while index < batch.count, room > 0, bytes.count < most {
      let delivery = batch[index]
      if let value = delivery.value {
        value.withUnsafeBytes { append($0) }
        tokens.append(delivery.token)
        ends.append(bytes.count)
        room -= 1
      } else {
        refused.append(delivery.token)
      }
      index += 1
    }
    // A carriage return is a newline to some.
    blank(13, from: first, to: bytes.count)
    return index - start
  }

  /// Appends a line. A raw newline would end it early: a space takes its place. In valid JSON it can only be insignificant.
  private mutating func append(_ value: UnsafeRawBufferPointer) {
    let start = bytes.count
    bytes.reserve(value.count + 1)
    bytes.append(value)
    blank(10, from: start, to: bytes.count)
    bytes.append(10)
  }

  private mutating func blank(_ byte: Int32, from start: Int, to end: Int) {
    var place = UnsafeMutableRawPointer(mutating: bytes.base + start)
    let end = bytes.base + end
    while place < end, let found = memchr(place, byte, end - UnsafeRawPointer(place)) {
      found.storeBytes(of: 0x20, as: UInt8.self)
      place = found + 1
    }
  }

  func whole(within count: Int) -> (lines: Int, bytes: Int) {
    if count == bytes.count { return (ends.count, count) }
    let lines = ends.firstIndex { $0 > count } ?? ends.count
    return (lines, lines == 0 ? 0 : ends[lines - 1])
  }

  mutating func removeAll() {
    // What one huge batch needed is not kept for ever.
    if bytes.capacity > 16 << 20 { bytes = ByteBuffer(capacity: 64 << 10) } else { bytes.removeAll() }
    tokens.removeAll(keepingCapacity: true)
    ends.removeAll(keepingCapacity: true)
  }
}
