/// How often each delivery came, in bounded memory: the ids that came last are remembered, by their hashes.
struct SeenDeliveries {
  struct Entry {
    /// How often it came.
    var count: UInt32 = 0
    /// One of its requests was answered with 2xx.
    var isAcknowledged = false
  }

  /// So many ids are remembered at least; at most twice as many.
  let limit: Int
  /// Ids have been forgotten.
  private(set) var isForgetting = false
  private var recent: [UInt128: Entry] = [:]
  /// What was recent before; an id that comes again moves to the recent ones.
  private var older: [UInt128: Entry] = [:]

  init(limit: Int) { self.limit = limit }

  /// The entry of an id, counted up. What the body changes is kept.
  mutating func note<R>(_ id: String, _ body: (inout Entry) -> R) -> R {
    let key = SeenDeliveries.key(id)
    if recent[key] == nil {
      let known = older.removeValue(forKey: key)
      if recent.count >= limit {
        isForgetting = isForgetting || !older.isEmpty
        older = recent
        recent = [:]
      }
      recent[key] = known
    }
    return SeenDeliveries.count(&recent[key, default: Entry()], body)
  }

  private static func count<R>(_ entry: inout Entry, _ body: (inout Entry) -> R) -> R {
    entry.count = entry.count &+ 1
    return body(&entry)
  }

  /// 128 bits of a hash whose key nobody outside the process knows: ids that are made to collide do not.
  private static func key(_ id: String) -> UInt128 {
    var id = id
    func half(_ number: UInt8) -> UInt128 {
      var hasher = Hasher()
      hasher.combine(number)
      id.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
      return UInt128(UInt(bitPattern: hasher.finalize()))
    }
    return half(0) << 64 | half(1)
  }
}
