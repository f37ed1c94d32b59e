import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// Where lines end and which of them are records.
enum LineSplitter {
  /// Appends the records of all whole lines to the block's.
  ///
  /// - Parameters:
  ///   - scanned: bytes at the block's start that hold no newline.
  ///   - lines: is counted up by every line, blank ones too.
  ///   - limit: a longer line's record has its first `limit + 1` bytes.
  /// - Returns: the bytes of the whole lines: what is behind them is the start of another line.
  static func split(_ block: ReadBlock, scanned: Int, lines: inout UInt64, limit: Int) -> Int {
    let base = UnsafeRawPointer(block.base)
    let end = base + block.filled
    let offset = block.offset
    var line = base
    var from = base + scanned
    var count: UInt64 = 0
    while from < end, let found = memchr(from, 10, end - from) {
      let newline = UnsafeRawPointer(found)
      append(line, newline, next: offset &+ UInt64(newline - base) &+ 1, to: block, limit: limit)
      count &+= 1
      line = newline + 1
      from = line
    }
    lines &+= count
    return line - base
  }

  /// Appends the record of the line up to `end`, unless it is blank.
  @inline(__always)
  static func append(
    _ start: UnsafeRawPointer, _ end: UnsafeRawPointer, next: UInt64, to block: ReadBlock, limit: Int
  ) {
    var value = start
    var length = end - start
    if block.offset == 0, start == UnsafeRawPointer(block.base) {
      // A byte order mark belongs to the file and not to its first line.
      let mark = markLength(start, length)
      value += mark
      length &-= mark
    }
    if isBlank(value, length) { return }
    block.append(
      RawRecord(
        key: nil, keyCount: 0, value: value, valueCount: min(length, limit &+ 1), timestamp: RawRecord.noTimestamp,
        position: block.offset &+ UInt64(start - UnsafeRawPointer(block.base)), next: next))
  }

  /// 3 where the bytes begin with UTF-8's byte order mark, else 0.
  static func markLength(_ start: UnsafeRawPointer, _ length: Int) -> Int {
    guard length >= 3, start.load(as: UInt8.self) == 0xef, start.load(fromByteOffset: 1, as: UInt8.self) == 0xbb,
      start.load(fromByteOffset: 2, as: UInt8.self) == 0xbf
    else { return 0 }
    return 3
  }

  @inline(__always)
  static func isWhitespace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x0d || byte == 0x09 || byte == 0x0a }

  /// Whether there is nothing but JSON's whitespace.
  @inline(__always)
  static func isBlank(_ start: UnsafeRawPointer, _ length: Int) -> Bool {
    for index in 0..<length {
      let byte = start.load(fromByteOffset: index, as: UInt8.self)
      if !isWhitespace(byte) { return false }
    }
    return true
  }
}

extension LineSplitter {
  /// The position behind a file's last record: blank lines at the end do not count, because no record tells of them.
  ///
  /// - Parameter takesUnterminated: whether a last line without newline is a record.
  static func end(of file: OpenFile, takesUnterminated: Bool) throws -> UInt64 {
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
    defer { room.deallocate() }
    let size = try file.facts().size
    var partEnd = size
    // Behind the newline nearest to the place that is looked at; nil: none seen yet.
    var afterNewline: UInt64? = takesUnterminated ? size : nil
    while partEnd > 0 {
      let start = partEnd > UInt64(room.count) ? partEnd - UInt64(room.count) : 0
      let part = UnsafeMutableRawBufferPointer(rebasing: room[..<Int(partEnd - start)])
      let count = try file.read(at: start, into: part)
      var index = count
      var mark = 0
      if start == 0, let base = part.baseAddress { mark = markLength(UnsafeRawPointer(base), count) }
      while index > mark {
        index -= 1
        let byte = part[index]
        if byte == 10 {
          afterNewline = start + UInt64(index) + 1
        } else if let afterNewline, !isWhitespace(byte) {
          return afterNewline
        }
      }
      partEnd = start
    }
    return 0
  }
}
