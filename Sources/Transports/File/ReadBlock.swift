import DatabusCore
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// A block of a file's bytes and the records that lie in it. Batches refer to it and copy nothing; its memory goes back to
/// the pool with the last of them.
final class ReadBlock: @unchecked Sendable {
  // Sendable: the reader alone writes it, and hands it over before anybody reads it.
  let base: UnsafeMutableRawPointer
  let capacity: Int
  private let pool: BlockPool?

  /// Bytes that have been read into the block.
  var filled = 0
  /// The file's offset of the block's first byte, which begins a line.
  var offset: UInt64 = 0
  /// Lines of this reading before the block's first one.
  var linesBefore: UInt64 = 0
  var origin: LineOrigin?

  private(set) var records: UnsafeMutablePointer<RawRecord>
  private(set) var recordCapacity: Int
  private(set) var recordCount = 0

  init(memory: BlockMemory, pool: BlockPool?) {
    base = memory.base
    capacity = memory.capacity
    records = memory.records
    recordCapacity = memory.recordCapacity
    self.pool = pool
  }

  deinit {
    let memory = BlockMemory(base: base, capacity: capacity, records: records, recordCapacity: recordCapacity)
    if let pool { pool.put(memory) } else { memory.free() }
  }

  @inline(__always)
  func append(_ record: RawRecord) {
    if recordCount == recordCapacity { grow() }
    records.advanced(by: recordCount).initialize(to: record)
    recordCount &+= 1
  }

  @inline(never)
  private func grow() {
    let larger = UnsafeMutablePointer<RawRecord>.allocate(capacity: recordCapacity * 2)
    larger.moveInitialize(from: records, count: recordCount)
    records.deallocate()
    records = larger
    recordCapacity *= 2
  }
}

/// Memory of a block while no block has it.
struct BlockMemory: @unchecked Sendable {
  // Sendable: it has one owner at a time.
  /// Bytes behind a block's end that may be read: the JSON parser needs them.
  static let padding = 64

  var base: UnsafeMutableRawPointer
  var capacity: Int
  var records: UnsafeMutablePointer<RawRecord>
  var recordCapacity: Int

  init(
    base: UnsafeMutableRawPointer, capacity: Int, records: UnsafeMutablePointer<RawRecord>, recordCapacity: Int
  ) {
    self.base = base
    self.capacity = capacity
    self.records = records
    self.recordCapacity = recordCapacity
  }

  init(capacity: Int) {
    base = .allocate(byteCount: capacity + Self.padding, alignment: 64)
    memset(base + capacity, 0, Self.padding)
    self.capacity = capacity
    recordCapacity = 64
    records = .allocate(capacity: recordCapacity)
  }

  func free() {
    base.deallocate()
    records.deallocate()
  }
}

/// Blocks of one size that are used again: fresh ones would cost a page fault for each 4 KiB.
final class BlockPool: Sendable {
  private let blockBytes: Int
  private let spare = Mutex<[BlockMemory]>([])
  private let limit = 8

  init(blockBytes: Int) { self.blockBytes = blockBytes }

  deinit { spare.withLock { for memory in $0 { memory.free() } } }

  /// A block of at least `capacity` bytes. Those beyond the usual size are not kept.
  func take(_ capacity: Int) -> ReadBlock {
    if capacity > blockBytes { return ReadBlock(memory: BlockMemory(capacity: capacity), pool: nil) }
    let memory = spare.withLock { $0.popLast() }
    return ReadBlock(memory: memory ?? BlockMemory(capacity: blockBytes), pool: self)
  }

  func put(_ memory: BlockMemory) {
    let isKept = spare.withLock { spare in
      if spare.count >= limit { return false }
      spare.append(memory)
      return true
    }
    if !isKept { memory.free() }
  }
}

/// Where the counting of lines began: the lines before it are counted in the file when somebody asks.
final class LineOrigin: Sendable {
  private let file: OpenFile
  private let offset: UInt64
  private let counted = Mutex<UInt64?>(nil)

  init(file: OpenFile, offset: UInt64) {
    self.file = file
    self.offset = offset
  }

  var name: String { file.name }

  /// Lines before the origin; nil where they cannot be read any more.
  func linesBefore() -> UInt64? {
    if offset == 0 { return 0 }
    return counted.withLock { known in
      if let known { return known }
      known = count()
      return known
    }
  }

  private func count() -> UInt64? {
    var lines: UInt64 = 0
    var place: UInt64 = 0
    let room = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
    defer { room.deallocate() }
    while place < offset {
      let wanted = Int(min(UInt64(room.count), offset - place))
      let part = UnsafeMutableRawBufferPointer(rebasing: room[..<wanted])
      guard let got = try? file.read(at: place, into: part), got > 0 else { return nil }
      lines += newlines(UnsafeRawPointer(room.baseAddress ?? part.baseAddress), got)
      place += UInt64(got)
    }
    return lines
  }
}

/// How many newlines there are.
func newlines(_ start: UnsafeRawPointer?, _ count: Int) -> UInt64 {
  guard let start else { return 0 }
  var lines: UInt64 = 0
  var place = start
  let end = start + count
  while place < end, let found = memchr(place, 10, end - place) {
    lines += 1
    place = UnsafeRawPointer(found) + 1
  }
  return lines
}

/// One batch's part of a block.
final class FileRecords: RecordStorage {
  private let block: ReadBlock
  private let first: Int

  init(block: ReadBlock, first: Int) {
    self.block = block
    self.first = first
  }

  /// The records belong to the block.
  func release(_ records: UnsafeMutableBufferPointer<RawRecord>) {}

  /// `file:line:column`; `file` and the byte where lines cannot be counted.
  func place(of index: Int) -> String? {
    guard index >= 0, first + index < block.recordCount, let origin = block.origin else { return nil }
    let position = block.records[first + index].position
    guard let before = origin.linesBefore() else { return "\(origin.name), byte \(position)" }
    let line = before + block.linesBefore + newlines(block.base, Int(clamping: position - block.offset)) + 1
    return "\(origin.name):\(line):1"
  }
}
