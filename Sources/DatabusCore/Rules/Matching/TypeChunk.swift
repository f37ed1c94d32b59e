#if canImport(Glibc)
  import Glibc
#endif

/// A part of the table: some event types and prefixes, and the rules that name each. Immutable; a change makes another chunk.
///
/// One block: a header, a hash table of entry offsets, and the entries, each with its rules' references and its type's bytes
/// behind it, so that a look-up touches few cache lines.
final class TypeChunk: @unchecked Sendable {
  // Sendable: the block is written in init and only read afterwards.
  fileprivate struct Header: BitwiseCopyable {
    var slotMask: UInt32
    var entryCount: UInt32
  }

  private struct Entry: BitwiseCopyable {
    var hash: UInt64
    /// Twice the count of bytes, plus 1 for a prefix.
    var key: UInt32
    var ruleCount: UInt32
  }

  /// What a look-up needs to know of a chunk before it reads any of it.
  struct Base: BitwiseCopyable {
    let block: UnsafeRawPointer
    let slotMask: Int

    /// The first slot that a hash is looked for in.
    @inline(__always)
    func slot(_ hash: UInt64) -> Int { Int(truncatingIfNeeded: hash) & slotMask }

    @inline(__always)
    func offset(inSlot slot: Int) -> UInt32 {
      block.load(fromByteOffset: MemoryLayout<Header>.stride &+ slot &* 4, as: UInt32.self)
    }
  }

  let block: UnsafeMutableRawPointer
  let entryCount: Int
  /// Keeps the rules' blocks alive.
  private let rules: [CompiledRule]

  /// The rules of one type, in the order of their ids.
  struct Draft {
    var hash: UInt64
    var bytes: UnsafeRawBufferPointer
    var isPrefix: Bool
    var rules: ArraySlice<CompiledRule>
  }

  init(_ drafts: [Draft]) {
    var slots = 4
    while slots < drafts.count * 2 { slots *= 2 }
    var size = MemoryLayout<Header>.stride + slots * 4
    size = (size + 7) & ~7
    let entriesStart = size
    for draft in drafts { size += TypeChunk.entrySize(bytes: draft.bytes.count, rules: draft.rules.count) }
    let block = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 64)
    memset(block, 0, entriesStart)
    block.storeBytes(
      of: Header(slotMask: UInt32(slots - 1), entryCount: UInt32(drafts.count)), as: Header.self)
    var owned: [CompiledRule] = []
    owned.reserveCapacity(drafts.reduce(0) { $0 + $1.rules.count })
    var place = entriesStart
    for draft in drafts {
      let key = UInt32(draft.bytes.count) << 1 | (draft.isPrefix ? 1 : 0)
      block.storeBytes(
        of: Entry(hash: draft.hash, key: key, ruleCount: UInt32(draft.rules.count)), toByteOffset: place,
        as: Entry.self)
      var inside = place + MemoryLayout<Entry>.stride
      for rule in draft.rules {
        block.storeBytes(of: UnsafeRawPointer(rule.block), toByteOffset: inside, as: UnsafeRawPointer.self)
        inside += 8
        owned.append(rule)
      }
      if let base = draft.bytes.baseAddress { memcpy(block + inside, base, draft.bytes.count) }
      var slot = Int(truncatingIfNeeded: draft.hash) & (slots - 1)
      while true {
        let offset = MemoryLayout<Header>.stride + slot * 4
        if block.load(fromByteOffset: offset, as: UInt32.self) == 0 {
          block.storeBytes(of: UInt32(place), toByteOffset: offset, as: UInt32.self)
          break
        }
        slot = (slot + 1) & (slots - 1)
      }
      place += TypeChunk.entrySize(bytes: draft.bytes.count, rules: draft.rules.count)
    }
    self.block = block
    entryCount = drafts.count
    rules = owned
  }

  deinit { block.deallocate() }

  var base: Base { Base(block: block, slotMask: Int(block.load(as: Header.self).slotMask)) }

  private static func entrySize(bytes: Int, rules: Int) -> Int {
    (MemoryLayout<Entry>.stride + rules * 8 + bytes + 7) & ~7
  }

  /// The rules that name exactly this type (or this prefix), in the order of their ids.
  @inline(__always)
  static func rules(
    in base: Base, hash: UInt64, _ start: UnsafeRawPointer, _ count: Int, isPrefix: Bool
  ) -> UnsafeBufferPointer<RuleReference>? {
    let key = UInt32(truncatingIfNeeded: count) << 1 | (isPrefix ? 1 : 0)
    var slot = base.slot(hash)
    while true {
      let offset = base.offset(inSlot: slot)
      if offset == 0 { return nil }
      let entry = base.block + Int(offset)
      if entry.load(as: UInt64.self) == hash, entry.load(fromByteOffset: 8, as: UInt32.self) == key {
        let ruleCount = Int(entry.load(fromByteOffset: 12, as: UInt32.self))
        let references = entry + MemoryLayout<Entry>.stride
        if memcmp(references + ruleCount &* 8, start, count) == 0 {
          return UnsafeBufferPointer(
            start: references.assumingMemoryBound(to: RuleReference.self), count: ruleCount)
        }
      }
      slot = (slot &+ 1) & base.slotMask
    }
  }

  /// Where the first slot of a hash stands; nothing of the chunk is read.
  @inline(__always)
  static func slotAddress(in base: Base, _ hash: UInt64) -> UnsafeRawPointer {
    base.block + (MemoryLayout<Header>.stride &+ base.slot(hash) &* 4)
  }

  /// The entry that the hash's first slot names, whether it is the right one or not.
  @inline(__always)
  static func entry(in base: Base, _ hash: UInt64) -> UnsafeRawPointer? {
    let offset = base.offset(inSlot: base.slot(hash))
    return offset == 0 ? nil : base.block + Int(offset)
  }

  /// The first rule of an entry, where that is the hash's.
  @inline(__always)
  static func firstRule(of entry: UnsafeRawPointer, _ hash: UInt64) -> RuleReference? {
    guard entry.load(as: UInt64.self) == hash, entry.load(fromByteOffset: 12, as: UInt32.self) > 0 else { return nil }
    return (entry + MemoryLayout<Entry>.stride).load(as: RuleReference.self)
  }

  /// What the chunk was made of; the bytes point into it.
  func drafts() -> [Draft] {
    let slots = Int(block.load(as: Header.self).slotMask) + 1
    var place = (MemoryLayout<Header>.stride + slots * 4 + 7) & ~7
    var owner = 0
    var all: [Draft] = []
    all.reserveCapacity(entryCount)
    for _ in 0..<entryCount {
      let entry = block.load(fromByteOffset: place, as: Entry.self)
      let ruleCount = Int(entry.ruleCount)
      let count = Int(entry.key >> 1)
      let bytes = UnsafeRawBufferPointer(
        start: block + place + MemoryLayout<Entry>.stride + ruleCount * 8, count: count)
      all.append(
        Draft(
          hash: entry.hash, bytes: bytes, isPrefix: entry.key & 1 == 1, rules: rules[owner..<owner + ruleCount]
        ))
      owner += ruleCount
      place += TypeChunk.entrySize(bytes: count, rules: ruleCount)
    }
    return all
  }
}
