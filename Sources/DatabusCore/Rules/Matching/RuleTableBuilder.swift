/// Makes tables: holds the rules in force and compiles only what a change touches.
struct RuleTableBuilder {
  private(set) var rules: [String: CompiledRule] = [:]
  private var chunks: [TypeChunk] = [TypeChunk([])]
  private var typeCount = 0
  private var version: UInt64 = 0
  /// How many types and rules name a prefix of each length.
  private var prefixLengthCounts: [Int: Int] = [:]
  /// Edits that are not in a chunk yet, by the type's hash.
  private var edits: [Edit] = []

  private struct Edit {
    var hash: UInt64
    var bytes: UnsafeRawBufferPointer
    var isPrefix: Bool
    /// Keeps the bytes alive.
    var rule: CompiledRule
    var adds: Bool
  }

  private static let typesPerChunk = 16

  var hasChanges: Bool { !edits.isEmpty }
  /// Types that rules since the last table have begun or ceased to name.
  var changeCount: Int { edits.count }

  /// The place of the scheme's sink, which the rule's results go to.
  mutating func upsert(_ rule: Rule, sink: Int) {
    let compiled = CompiledRule(rule, sink: sink)
    if let old = rules.updateValue(compiled, forKey: rule.id) { edit(old, adds: false) }
    edit(compiled, adds: true)
  }

  mutating func remove(_ ruleID: String) {
    if let old = rules.removeValue(forKey: ruleID) { edit(old, adds: false) }
  }

  private mutating func edit(_ rule: CompiledRule, adds: Bool) {
    rule.forEachType { type in
      edits.append(Edit(hash: type.hash, bytes: type.bytes, isPrefix: type.isPrefix, rule: rule, adds: adds))
      if type.isPrefix { prefixLengthCounts[type.bytes.count, default: 0] += adds ? 1 : -1 }
    }
  }

  /// The table with all changes so far.
  mutating func makeTable(vector: RulesVector) -> RuleTable {
    version += 1
    applyEdits()
    if typeCount > chunks.count * RuleTableBuilder.typesPerChunk * 2 { growDirectory() }
    return RuleTable(
      version: version, vector: vector, ruleCount: rules.count, chunks: chunks,
      prefixLengths: prefixLengthCounts.filter { $0.value > 0 }.keys.sorted())
  }

  private mutating func applyEdits() {
    if edits.isEmpty { return }
    // A first load comes in one piece: the directory is given its size before the chunks are made, not while.
    let expected = typeCount + edits.count
    if expected > chunks.count * RuleTableBuilder.typesPerChunk * 2 { growDirectory(for: expected) }
    let count = chunks.count
    var order = Array(edits.indices)
    // Stable within a chunk: a rule's removal and addition keep their order.
    order.sort { a, b in
      let (x, y) = (
        RuleTable.chunkIndex(edits[a].hash, count: count), RuleTable.chunkIndex(edits[b].hash, count: count)
      )
      return x == y ? a < b : x < y
    }
    var start = 0
    while start < order.count {
      let chunk = RuleTable.chunkIndex(edits[order[start]].hash, count: count)
      var end = start
      while end < order.count, RuleTable.chunkIndex(edits[order[end]].hash, count: count) == chunk { end += 1 }
      rebuild(chunk, with: order[start..<end])
      start = end
    }
    edits.removeAll()
  }

  /// Makes one chunk anew with the edits that concern it. It holds a few dozen types: they are looked through, not hashed.
  private mutating func rebuild(_ chunk: Int, with indices: ArraySlice<Int>) {
    var drafts = chunks[chunk].drafts()
    var places: [(draft: Int, edit: Int)] = []
    places.reserveCapacity(indices.count)
    for index in indices {
      let edit = edits[index]
      var place = drafts.firstIndex {
        $0.hash == edit.hash && $0.isPrefix == edit.isPrefix && $0.bytes.elementsEqual(edit.bytes)
      }
      if place == nil, edit.adds {
        place = drafts.count
        drafts.append(.init(hash: edit.hash, bytes: edit.bytes, isPrefix: edit.isPrefix, rules: []))
      }
      if let place { places.append((place, index)) }
    }
    places.sort { ($0.draft, $0.edit) < ($1.draft, $1.edit) }
    var start = 0
    while start < places.count {
      let draft = places[start].draft
      var end = start
      while end < places.count, places[end].draft == draft { end += 1 }
      drafts[draft].rules = changed(drafts[draft].rules, by: places[start..<end].map { edits[$0.edit] })
      start = end
    }
    drafts.removeAll { $0.rules.isEmpty }
    typeCount += drafts.count - chunks[chunk].entryCount
    chunks[chunk] = TypeChunk(drafts)
  }

  /// The rules of one type after its edits, in the order of their ids. One pass, however many rules the type has.
  private func changed(_ rules: ArraySlice<CompiledRule>, by edits: [Edit]) -> ArraySlice<CompiledRule> {
    // A rule that was added and replaced between two tables is among both: removal wins.
    let gone = Set(edits.lazy.filter { !$0.adds }.map { ObjectIdentifier($0.rule) })
    var new = edits.filter { $0.adds && !gone.contains(ObjectIdentifier($0.rule)) }.map(\.rule)[...]
    if new.count > 1 { new.sort(by: RuleTableBuilder.precedes) }
    var merged: [CompiledRule] = []
    merged.reserveCapacity(rules.count + new.count)
    for rule in rules where gone.isEmpty || !gone.contains(ObjectIdentifier(rule)) {
      while let next = new.first, RuleTableBuilder.precedes(next, rule) {
        merged.append(next)
        new.removeFirst()
      }
      merged.append(rule)
    }
    return (merged + new)[...]
  }

  private static func precedes(_ a: CompiledRule, _ b: CompiledRule) -> Bool {
    RuleReference.precedes(RuleReference(block: a.block), RuleReference(block: b.block))
  }

  private mutating func growDirectory(for types: Int? = nil) {
    var count = chunks.count
    while (types ?? typeCount) > count * RuleTableBuilder.typesPerChunk { count *= 2 }
    var sorted: [[TypeChunk.Draft]] = Array(repeating: [], count: count)
    for chunk in chunks {
      for draft in chunk.drafts() { sorted[RuleTable.chunkIndex(draft.hash, count: count)].append(draft) }
    }
    // The drafts' bytes lie in the old chunks, which live until here.
    let old = chunks
    chunks = sorted.map { TypeChunk($0) }
    withExtendedLifetime(old) {}
  }
}
