import CSystem

/// The immutable, compiled set of all rules in force. Chunks that a change does not touch are shared with the table before it.
public final class RuleTable: @unchecked Sendable {
  // Sendable: written in init and only read afterwards.
  /// Counts the tables of this process, from 0 for the empty one.
  public let version: UInt64
  /// How far the rules stream had been read when this table was made.
  public let vector: RulesVector
  /// Rules in force, disabled ones included.
  public let ruleCount: Int
  let chunks: [TypeChunk]
  private let bases: UnsafeMutablePointer<TypeChunk.Base>
  private let shift: UInt64
  /// The lengths of all prefixes that some rule names, ascending.
  let prefixLengths: [Int]
  private let prefixes: UnsafeMutableBufferPointer<Int>

  init(version: UInt64, vector: RulesVector, ruleCount: Int, chunks: [TypeChunk], prefixLengths: [Int]) {
    precondition(chunks.count.nonzeroBitCount == 1)
    self.version = version
    self.vector = vector
    self.ruleCount = ruleCount
    self.chunks = chunks
    self.prefixLengths = prefixLengths
    bases = .allocate(capacity: chunks.count)
    for (index, chunk) in chunks.enumerated() {
      (bases + index).initialize(to: chunk.base)
    }
    shift = UInt64(64 - chunks.count.trailingZeroBitCount)
    prefixes = .allocate(capacity: prefixLengths.count)
    _ = prefixes.initialize(from: prefixLengths)
  }

  deinit {
    bases.deallocate()
    prefixes.deallocate()
  }

  /// The table without rules.
  public static let empty = RuleTable(
    version: 0, vector: RulesVector(), ruleCount: 0, chunks: [TypeChunk([])], prefixLengths: [])

  /// Which chunk holds this hash.
  @inline(__always)
  static func chunkIndex(_ hash: UInt64, count: Int) -> Int {
    count == 1 ? 0 : Int(hash >> UInt64(64 &- count.trailingZeroBitCount))
  }

  /// A look-up that nothing retains: for the length of one batch.
  @inline(__always)
  var lookup: Lookup { Lookup(bases: bases, shift: shift, prefixes: UnsafeBufferPointer(prefixes)) }

  struct Lookup {
    let bases: UnsafeMutablePointer<TypeChunk.Base>
    let shift: UInt64
    let prefixes: UnsafeBufferPointer<Int>

    /// Whether the table is large enough that its parts are seldom in the processor's caches.
    var isLarge: Bool { shift < 64 - 4 }

    // A look-up in a large table is a chain of cache misses. While other events are parsed, the chain is walked one step ahead.

    /// Asks for the hash table's slot.
    @inline(__always)
    func prefetchSlot(_ hash: UInt64) { databus_prefetch(TypeChunk.slotAddress(in: base(hash), hash)) }

    /// Asks for the entry, once its slot is there.
    @inline(__always)
    func prefetchEntry(_ hash: UInt64) {
      if let entry = TypeChunk.entry(in: base(hash), hash) {
        databus_prefetch(entry)
        databus_prefetch(entry + 64)
      }
    }

    /// Asks for the first rule, once the entry is there.
    @inline(__always)
    func prefetchRule(_ hash: UInt64) {
      guard let entry = TypeChunk.entry(in: base(hash), hash), let rule = TypeChunk.firstRule(of: entry, hash) else {
        return
      }
      databus_prefetch(rule.block)
      databus_prefetch(rule.block + 64)
      databus_prefetch(rule.block + 128)
      databus_prefetch(rule.block + 192)
    }

    /// The rules that name this type, in the order of their ids, each once. `matches` holds them where they come from more than one list.
    @inline(__always)
    func candidates(
      _ start: UnsafeRawPointer, _ count: Int, hash: UInt64, _ matches: inout RuleMatches
    ) -> UnsafeBufferPointer<RuleReference> {
      let exact = TypeChunk.rules(in: base(hash), hash: hash, start, count, isPrefix: false)
      if prefixes.isEmpty { return exact ?? UnsafeBufferPointer(start: nil, count: 0) }
      return withPrefixes(exact, start, count, &matches)
    }

    @inline(__always)
    private func base(_ hash: UInt64) -> TypeChunk.Base { bases[shift == 64 ? 0 : Int(hash >> shift)] }

    @inline(never)
    private func withPrefixes(
      _ exact: UnsafeBufferPointer<RuleReference>?, _ start: UnsafeRawPointer, _ count: Int,
      _ matches: inout RuleMatches
    ) -> UnsafeBufferPointer<RuleReference> {
      matches.removeAll()
      var only = exact
      var lists = exact == nil ? 0 : 1
      for length in prefixes {
        if length > count { break }
        let hash = TypeHash.hash(start, length)
        guard let list = TypeChunk.rules(in: base(hash), hash: hash, start, length, isPrefix: true) else { continue }
        lists += 1
        if lists == 1 {
          only = list
        } else {
          if lists == 2, let only { matches.append(only) }
          matches.append(list)
        }
      }
      if lists <= 1 { return only ?? UnsafeBufferPointer(start: nil, count: 0) }
      matches.sortAndUnique()
      return matches.references
    }
  }
}

/// Where the rules of an event are put together when they come from several lists.
struct RuleMatches: ~Copyable {
  private var memory: UnsafeMutablePointer<RuleReference>
  private var capacity = 64
  private var count = 0

  init() { memory = .allocate(capacity: 64) }
  deinit { memory.deallocate() }

  var references: UnsafeBufferPointer<RuleReference> { UnsafeBufferPointer(start: memory, count: count) }

  mutating func removeAll() { count = 0 }

  mutating func append(_ list: UnsafeBufferPointer<RuleReference>) {
    if count + list.count > capacity {
      var larger = capacity * 2
      while larger < count + list.count { larger *= 2 }
      let moved = UnsafeMutablePointer<RuleReference>.allocate(capacity: larger)
      moved.moveInitialize(from: memory, count: count)
      memory.deallocate()
      memory = moved
      capacity = larger
    }
    for reference in list {
      (memory + count).initialize(to: reference)
      count += 1
    }
  }

  /// A rule that matches by two of its entries makes one delivery.
  mutating func sortAndUnique() {
    var all = UnsafeMutableBufferPointer(start: memory, count: count)
    all.sort(by: RuleReference.precedes)
    var kept = 0
    for index in 0..<count where kept == 0 || memory[kept - 1].block != memory[index].block {
      memory[kept] = memory[index]
      kept += 1
    }
    count = kept
  }
}
