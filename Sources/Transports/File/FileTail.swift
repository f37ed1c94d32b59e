import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// One life of one file while it is read: turns its bytes into blocks of records. Belongs to the reader's thread.
final class FileTail {
  enum Outcome {
    /// Records, in order behind those before.
    case block(ReadBlock)
    /// Something was read, and no line ended or all were blank.
    case nothing
    /// There are no more bytes now.
    case end
  }

  let file: OpenFile
  let isRegular: Bool
  let assignment: Assignment
  /// nil for what has no identity of its own: standard input, pipes, and every file of a run with an id.
  var identity: FileIdentity?
  private let limit: Int
  private let pool: BlockPool
  private let blockBytes: Int

  /// The file's offset behind the last byte read.
  private(set) var readOffset: UInt64 = 0
  /// The block being filled; it begins with the start of a line.
  private var block: ReadBlock
  /// Bytes at the block's start that hold no newline.
  private var scanned = 0
  /// Bytes of the block that were read and not looked at.
  private var hasUnsplit = false
  /// A line longer than the limit whose end is being looked for.
  private var cut: ReadBlock?
  private var lines: UInt64 = 0
  private var origin: LineOrigin

  /// Everything there was has been read, and (where the file is finite) delivered.
  var isFinished = false
  var isAtEnd = false
  /// The count of the seek that the reading follows.
  var serial: UInt64 = 0
  /// A last line without newline was delivered as a record.
  private(set) var deliveredUnterminated = false
  /// When a file that left its path last gave something.
  var retiredSince: Instant?
  var isRetired: Bool { retiredSince != nil }
  /// The file that this was is nowhere to be found: reading from any position is a gap.
  var isGone = false
  /// What the file was like when its end was reached, and its bytes around what was read: to tell growth from rewriting.
  private(set) var factsAtEnd: FileFacts?
  private var wasTruncated = false
  private var endReached = Instant(nanoseconds: 0)
  private var headAtEnd: [UInt8] = []
  private var windowAtEnd: [UInt8] = []

  init(
    file: OpenFile, isRegular: Bool, assignment: Assignment, identity: FileIdentity?, limit: Int, blockBytes: Int,
    pool: BlockPool
  ) {
    self.file = file
    self.isRegular = isRegular
    self.assignment = assignment
    self.identity = identity
    self.limit = limit
    self.blockBytes = blockBytes
    self.pool = pool
    origin = LineOrigin(file: file, offset: 0)
    block = pool.take(blockBytes)
    block.origin = origin
  }

  /// Where the first record that was not handed over stands.
  var undelivered: UInt64 { cut?.offset ?? block.offset }

  /// Reads from another place on.
  func seek(to position: UInt64) {
    readOffset = position
    origin = LineOrigin(file: file, offset: position)
    lines = 0
    cut = nil
    isFinished = false
    isAtEnd = false
    deliveredUnterminated = false
    begin(pool.take(blockBytes), at: position)
  }

  /// Reads once.
  func read() throws -> Outcome {
    if hasUnsplit {
      hasUnsplit = false
      return split()
    }
    if block.filled == block.capacity { enlarge() }
    let count = try readSome()
    if count == 0 {
      isAtEnd = true
      return .end
    }
    readOffset += UInt64(count)
    block.filled += count
    return cut == nil ? split() : skip()
  }

  private func readSome() throws -> Int {
    let room = block.capacity - block.filled
    while true {
      let count =
        isRegular
        ? pread(file.descriptor, block.base + block.filled, room, off_t(clamping: readOffset))
        : Glibc.read(file.descriptor, block.base + block.filled, room)
      if count >= 0 { return count }
      if errno == EINTR { continue }
      throw systemError("read", file.name, errno)
    }
  }

  private func split() -> Outcome {
    let consumed = LineSplitter.split(block, scanned: scanned, lines: &lines, limit: limit)
    if consumed > 0 { return turnOver(consumed) }
    scanned = block.filled
    if block.filled > limit {
      cut = block
      begin(pool.take(blockBytes), at: readOffset)
    }
    return .nothing
  }

  /// Looks for the end of a line that is too long, in constant memory.
  private func skip() -> Outcome {
    guard let long = cut else { return .nothing }
    guard let found = memchr(block.base, 10, block.filled) else {
      begin(block, at: readOffset)
      return .nothing
    }
    let rest = UnsafeRawPointer(found) + 1
    let consumed = rest - UnsafeRawPointer(block.base)
    let next = block.offset + UInt64(consumed)
    let remaining = block.filled - consumed
    lines += 1
    memmove(block.base, rest, remaining)
    begin(block, at: next)
    block.filled = remaining
    hasUnsplit = remaining > 0
    return end(cutLine: long, next: next)
  }

  private func end(cutLine long: ReadBlock, next: UInt64) -> Outcome {
    LineSplitter.append(long.base, long.base + long.filled, next: next, to: long, limit: limit)
    cut = nil
    return long.recordCount > 0 ? .block(long) : .nothing
  }

  /// Hands the block over and moves the start of the next line to a new one.
  private func turnOver(_ consumed: Int) -> Outcome {
    let full = block
    let carry = full.filled - consumed
    let next = full.offset + UInt64(consumed)
    if full.recordCount == 0 {
      memmove(full.base, full.base + consumed, carry)
      begin(full, at: next)
    } else {
      begin(pool.take(max(blockBytes, carry * 2)), at: next)
      memcpy(block.base, full.base + consumed, carry)
    }
    block.filled = carry
    scanned = carry
    return full.recordCount == 0 ? .nothing : .block(full)
  }

  private func begin(_ fresh: ReadBlock, at offset: UInt64) {
    block = fresh
    block.offset = offset
    block.linesBefore = lines
    block.origin = origin
    block.filled = 0
    scanned = 0
    hasUnsplit = false
  }

  /// Gives a line that fills its block a larger one.
  private func enlarge() {
    let full = block
    let larger = pool.take(min(full.capacity * 2, max(limit, full.capacity) + blockBytes))
    memcpy(larger.base, full.base, full.filled)
    begin(larger, at: full.offset)
    larger.filled = full.filled
    scanned = full.filled
  }

  /// The last line, which has no newline, as a record. For a file that ends here.
  func finishLine() -> Outcome {
    if let long = cut {
      begin(block, at: readOffset)
      deliveredUnterminated = true
      return end(cutLine: long, next: readOffset)
    }
    if block.filled == 0 { return .nothing }
    let next = block.offset + UInt64(block.filled)
    LineSplitter.append(block.base, block.base + block.filled, next: next, to: block, limit: limit)
    lines += 1
    deliveredUnterminated = block.recordCount > 0
    return turnOver(block.filled)
  }

  // MARK: Telling growth from rewriting

  enum Change {
    case none, growth
    /// What was read is not what stands there now.
    case rewritten
  }

  /// Remembers what the file is like at its end.
  func rememberEnd(at moment: Instant) throws {
    endReached = moment
    let facts = try file.facts()
    wasTruncated = facts.size < readOffset
    // What grew in between is growth: keep the older facts' modification time out of it.
    factsAtEnd = facts.size == readOffset ? facts : nil
    headAtEnd = try file.bytes(at: 0, Int(min(readOffset, UInt64(FileIdentity.maximumHeadBytes))))
    windowAtEnd = try file.bytes(at: windowOffset, Int(readOffset - windowOffset))
  }

  /// Whether nothing was added for a while.
  func isQuiet(for duration: Duration, at moment: Instant) -> Bool { moment - endReached >= duration }

  private var windowOffset: UInt64 { readOffset > 256 ? readOffset - 256 : 0 }

  /// What happened to a file whose end had been reached.
  ///
  /// - Parameter isTable: whether any change that is not growth counts, whatever the bytes say.
  func change(isTable: Bool) throws -> Change {
    let facts = try file.facts()
    if wasTruncated || facts.size < readOffset { return .rewritten }
    let isTouched = factsAtEnd.map { facts.isModified(since: $0) } ?? false
    if facts.size == readOffset {
      if !isTouched {
        if factsAtEnd == nil { factsAtEnd = facts }
        return .none
      }
      if isTable { return .rewritten }
      if !(try standsAsRead()) { return .rewritten }
      factsAtEnd = facts
      return .none
    }
    if !(try standsAsRead()) { return .rewritten }
    if deliveredUnterminated {
      // A line that went out without its newline must not have been the start of a longer one.
      let behind = try file.bytes(at: readOffset, 1)
      if behind != [10] { return .rewritten }
      deliveredUnterminated = false
    }
    return .growth
  }

  private func standsAsRead() throws -> Bool {
    let head = try file.bytes(at: 0, headAtEnd.count)
    if head != headAtEnd { return false }
    let window = try file.bytes(at: windowOffset, windowAtEnd.count)
    return window == windowAtEnd
  }
}
