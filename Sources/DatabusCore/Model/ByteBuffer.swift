#if canImport(Glibc)
  import Glibc
#endif

/// A growing block of bytes that is written at its end. Reused by emptying it: nothing is allocated once it has
/// its size.
public struct ByteBuffer: ~Copyable, @unchecked Sendable {
  // Sendable: it owns its memory and has one owner at a time.
  @usableFromInline private(set) var memory: UnsafeMutableRawPointer
  public private(set) var capacity: Int
  public private(set) var count = 0

  public init(capacity: Int = 256) {
    self.capacity = max(capacity, 64)
    memory = UnsafeMutableRawPointer.allocate(byteCount: self.capacity, alignment: 16)
  }

  deinit { memory.deallocate() }

  /// The first byte. Valid until the next append.
  public var base: UnsafeRawPointer { UnsafeRawPointer(memory) }

  /// The memory behind the bytes written: as much as was reserved. Valid until the next append.
  @inline(__always)
  var room: UnsafeMutableRawPointer { memory + count }

  /// All bytes written. Valid until the next append.
  public var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: memory, count: count)
  }

  /// Makes room for `extra` bytes behind those written.
  @inline(__always)
  public mutating func reserve(_ extra: Int) {
    if count &+ extra > capacity { grow(extra) }
  }

  @inline(never)
  private mutating func grow(_ extra: Int) {
    var larger = capacity * 2
    while larger < count + extra { larger *= 2 }
    let moved = UnsafeMutableRawPointer.allocate(byteCount: larger, alignment: 16)
    moved.copyMemory(from: memory, byteCount: count)
    memory.deallocate()
    memory = moved
    capacity = larger
  }

  @inline(__always)
  public mutating func append(_ source: UnsafeRawBufferPointer) {
    guard let start = source.baseAddress else { return }
    append(start, source.count)
  }

  @inline(__always)
  public mutating func append(_ start: UnsafeRawPointer, _ length: Int) {
    reserve(length)
    memcpy(memory + count, start, length)
    count = count &+ length
  }

  @inline(__always)
  public mutating func append(_ byte: UInt8) {
    reserve(1)
    memory.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
    count = count &+ 1
  }

  @inline(__always)
  public mutating func append(_ text: StaticString) {
    append(UnsafeRawPointer(text.utf8Start), text.utf8CodeUnitCount)
  }

  public mutating func append(_ array: [UInt8]) {
    array.withUnsafeBytes { append($0) }
  }

  public mutating func append(_ text: String) {
    var text = text
    text.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }

  /// Appends the number's decimal digits.
  @inline(__always)
  public mutating func appendDecimal(_ number: UInt64) {
    reserve(20)
    appendDecimalUnchecked(number)
  }

  /// Appends the number's decimal digits without making room: `reserve` was called for 20.
  @inline(__always)
  mutating func appendDecimalUnchecked(_ number: UInt64) {
    let digits = ByteBuffer.digitCount(number)
    var place = memory + (count &+ digits)
    count = count &+ digits
    var rest = number
    while rest >= 100 {
      let (quotient, remainder) = rest.quotientAndRemainder(dividingBy: 100)
      place -= 2
      ByteBuffer.storePair(remainder, place)
      rest = quotient
    }
    if rest >= 10 {
      ByteBuffer.storePair(rest, place - 2)
    } else {
      (place - 1).storeBytes(of: UInt8(truncatingIfNeeded: 48 &+ rest), as: UInt8.self)
    }
  }

  /// Two decimal digits.
  @inline(__always)
  private static func storePair(_ number: UInt64, _ place: UnsafeMutableRawPointer) {
    let tens = (number &* 103) >> 10
    let word = UInt16(truncatingIfNeeded: 0x3030 &+ tens &+ (number &- tens &* 10) << 8)
    place.storeBytes(of: word.littleEndian, as: UInt16.self)
  }

  /// How many decimal digits a number has.
  @inline(__always)
  private static func digitCount(_ number: UInt64) -> Int {
    var digits = 1
    var rest = number
    while rest >= 10_000 {
      digits = digits &+ 4
      rest /= 10_000
    }
    return rest >= 1000 ? digits &+ 3 : rest >= 100 ? digits &+ 2 : rest >= 10 ? digits &+ 1 : digits
  }

  /// Appends a signed number's decimal digits.
  @inline(__always)
  public mutating func appendDecimal(_ number: Int64) {
    if number < 0 { append(UInt8(ascii: "-")) }
    appendDecimal(number.magnitude)
  }

  /// Appends without making room: `reserve` was called for at least as much.
  @inline(__always)
  mutating func appendUnchecked(_ start: UnsafeRawPointer, _ length: Int) {
    memcpy(memory + count, start, length)
    count = count &+ length
  }

  /// How many bytes behind a source `appendShort` may read, and behind its end may write.
  static let shortSlack = 16

  /// Appends a few dozen bytes without the price of a call, 16 at a time: `shortSlack` more than `length` are read and written, so
  /// the source must have them and `reserve` was called for them.
  @inline(__always)
  mutating func appendShort(_ start: UnsafeRawPointer, _ length: Int) {
    ByteBuffer.copyShort(start, memory + count, length)
    count = count &+ length
  }

  /// Copies `length` bytes, 16 at a time: see `appendShort`.
  @inline(__always)
  static func copyShort(_ from: UnsafeRawPointer, _ to: UnsafeMutableRawPointer, _ length: Int) {
    var place = 0
    repeat {
      to.storeBytes(
        of: from.loadUnaligned(fromByteOffset: place, as: SIMD2<UInt64>.self), toByteOffset: place,
        as: SIMD2<UInt64>.self)
      place = place &+ 16
    } while place < length
  }

  /// Appends the first `length` of the word's 8 bytes as they lie in memory, without making room: `reserve` was called for 8.
  @inline(__always)
  mutating func appendWord(_ word: UInt64, _ length: Int) {
    memory.storeBytes(of: word, toByteOffset: count, as: UInt64.self)
    count = count &+ length
  }

  /// Appends the 16 hexadecimal digits of a number, without making room: `reserve` was called for 16.
  @inline(__always)
  mutating func appendHexadecimalWord(_ number: UInt64) {
    ByteBuffer.storeHexadecimal(UInt32(truncatingIfNeeded: number >> 32), memory + count)
    ByteBuffer.storeHexadecimal(UInt32(truncatingIfNeeded: number), memory + count + 8)
    count = count &+ 16
  }

  /// Eight digits at once: every nibble gets a byte of its own, the most significant first, and 39 is added to those above 9.
  @inline(__always)
  private static func storeHexadecimal(_ number: UInt32, _ place: UnsafeMutableRawPointer) {
    var word = UInt64(number.byteSwapped)
    word = (word | word << 16) & 0x0000_FFFF_0000_FFFF
    word = (word | word << 8) & 0x00FF_00FF_00FF_00FF
    word = (word >> 4) & 0x000F_000F_000F_000F | (word & 0x000F_000F_000F_000F) << 8
    let above = ((word &+ 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101
    word = word &+ 0x3030_3030_3030_3030 &+ above &* 39
    place.storeBytes(of: word.littleEndian, as: UInt64.self)
  }

  /// Appends two lower-case hexadecimal digits for each byte.
  @inline(__always)
  public mutating func appendHexadecimal(_ start: UnsafeRawPointer, _ length: Int) {
    reserve(length &* 2)
    for index in 0..<length {
      let byte = start.load(fromByteOffset: index, as: UInt8.self)
      let high = byte >> 4
      let low = byte & 15
      let place = count &+ index &* 2
      memory.storeBytes(of: high &+ (high < 10 ? 48 : 87), toByteOffset: place, as: UInt8.self)
      memory.storeBytes(of: low &+ (low < 10 ? 48 : 87), toByteOffset: place &+ 1, as: UInt8.self)
    }
    count = count &+ length &* 2
  }

  /// Appends the number as 4 bytes, most significant first.
  @inline(__always)
  public mutating func appendBigEndian(_ number: UInt32) {
    withUnsafeBytes(of: number.bigEndian) { append($0) }
  }

  /// Appends the number as 8 bytes, most significant first.
  @inline(__always)
  public mutating func appendBigEndian(_ number: UInt64) {
    withUnsafeBytes(of: number.bigEndian) { append($0) }
  }

  /// Forgets the bytes and keeps the memory.
  public mutating func removeAll() { count = 0 }

  /// Forgets the bytes behind the first `newCount`.
  public mutating func truncate(to newCount: Int) {
    precondition(newCount >= 0 && newCount <= count)
    count = newCount
  }

  /// Says that `length` bytes behind those written have been filled through `unusedBytes`.
  public mutating func advance(_ length: Int) {
    precondition(length >= 0 && count + length <= capacity)
    count += length
  }

  /// The room behind the bytes written. Valid until the next append.
  public mutating func unusedBytes() -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: memory + count, count: capacity - count)
  }
}

extension [UInt8]? {
  /// Calls `body` with the bytes; nil stays nil, and an empty array is no byte and not nil: a tombstone and an empty value differ.
  func withOptionalBytes<R>(_ body: (UnsafeRawBufferPointer?) -> R) -> R {
    guard let self else { return body(nil) }
    return self.withUnsafeBytes { body($0) }
  }
}
