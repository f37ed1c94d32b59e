#if canImport(Glibc)
  import Glibc
#endif

/// What routing needs of a rule, laid out in one block: the pieces of its results ready to be copied.
///
/// The block begins with a `Layout`; behind it stand, in this order, the result's beginning up to the payload, the parts of the
/// delivery id that the rule gives, the result's members between id and event, the `delivery` member, and the rule's types.
final class CompiledRule: @unchecked Sendable {
  // Sendable: the block is written in init and only read afterwards.
  struct Layout: BitwiseCopyable {
    /// `{"destination":"…","payload":`
    var headCount: UInt32
    /// Length-prefixed rule id and action index, as the id's hash takes them.
    var identityCount: UInt32
    /// `","rule":"…","event":"`
    var middleCount: UInt32
    /// `,"delivery":{…}` or nothing.
    var deliveryCount: UInt32
    var ruleIDCount: UInt32
    var typeCount: UInt32
    /// Which of the table's sinks.
    var sink: UInt16
    /// The rule has tests or transforms of its own: see the object.
    var hasCode: Bool
    /// The object that owns this block, for rules that have code.
    var owner: UnsafeRawPointer?
  }

  let block: UnsafeMutableRawPointer
  let id: String
  let isEnabled: Bool
  let evaluator: (any RuleEvaluator)?
  let transformer: (any RuleTransformer)?

  /// A type or prefix that the rule names.
  struct RoutedType {
    var hash: UInt64
    var bytes: UnsafeRawBufferPointer
    var isPrefix: Bool
  }

  init(_ rule: Rule, sink: Int) {
    id = rule.id
    isEnabled = rule.isEnabled
    evaluator = rule.evaluator
    transformer = rule.transformer
    var types: [[UInt8]: Set<Bool>] = [:]
    var order: [(bytes: [UInt8], isPrefix: Bool)] = []
    for event in rule.events where rule.isEnabled {
      let isPrefix = event.hasSuffix("*")
      let bytes = Array((isPrefix ? String(event.dropLast()) : event).utf8)
      if types[bytes, default: []].insert(isPrefix).inserted { order.append((bytes, isPrefix)) }
    }

    var text = ByteBuffer(capacity: 256)
    text.append("{\"destination\":")
    JSONText.append(rule.destination, to: &text)
    text.append(",\"payload\":")
    let head = text.count
    text.appendBigEndian(UInt32(rule.id.utf8.count))
    text.append(rule.id)
    text.appendBigEndian(UInt32(8))
    text.appendBigEndian(UInt64(0))
    let identity = text.count
    text.append("\",\"rule\":")
    JSONText.append(rule.id, to: &text)
    text.append(",\"event\":\"")
    let middle = text.count
    if let delivery = rule.delivery {
      text.append(",\"delivery\":")
      text.append(delivery)
    }
    let delivery = text.count
    for type in order {
      let hash = type.bytes.withUnsafeBufferPointer {
        // An empty array may have no address; nothing is read of an empty type.
        TypeHash.hash($0.baseAddress.map { UnsafeRawPointer($0) } ?? text.base, $0.count)
      }
      withUnsafeBytes(of: hash) { text.append($0) }
      withUnsafeBytes(of: UInt32(type.bytes.count) << 1 | (type.isPrefix ? 1 : 0)) { text.append($0) }
      text.append(type.bytes)
    }

    block = .allocate(
      byteCount: MemoryLayout<Layout>.stride + text.count + ByteBuffer.shortSlack, alignment: 8)
    block.advanced(by: MemoryLayout<Layout>.stride).copyMemory(from: text.base, byteCount: text.count)
    block.initializeMemory(
      as: Layout.self,
      to: Layout(
        headCount: UInt32(head), identityCount: UInt32(identity - head), middleCount: UInt32(middle - identity),
        deliveryCount: UInt32(delivery - middle), ruleIDCount: UInt32(rule.id.utf8.count),
        typeCount: UInt32(order.count), sink: UInt16(sink), hasCode: false, owner: nil))
    if evaluator != nil || transformer != nil {
      let layout = block.assumingMemoryBound(to: Layout.self)
      layout.pointee.hasCode = true
      layout.pointee.owner = UnsafeRawPointer(Unmanaged.passUnretained(self).toOpaque())
    }
  }

  deinit { block.deallocate() }

  var layout: Layout { block.load(as: Layout.self) }

  /// Calls `body` with every type that the rule names.
  func forEachType(_ body: (RoutedType) -> Void) {
    let layout = self.layout
    var place =
      UnsafeRawPointer(block) + MemoryLayout<Layout>.stride + Int(layout.headCount) + Int(layout.identityCount)
      + Int(layout.middleCount) + Int(layout.deliveryCount)
    for _ in 0..<layout.typeCount {
      let hash = place.loadUnaligned(as: UInt64.self)
      let word = place.loadUnaligned(fromByteOffset: 8, as: UInt32.self)
      let count = Int(word >> 1)
      body(
        RoutedType(
          hash: hash, bytes: UnsafeRawBufferPointer(start: place + 12, count: count), isPrefix: word & 1 == 1))
      place += 12 + count
    }
  }
}

/// A compiled rule as routing sees it: a pointer into a block that the table keeps alive.
struct RuleReference: BitwiseCopyable {
  let block: UnsafeRawPointer

  @inline(__always)
  var layout: UnsafePointer<CompiledRule.Layout> { block.assumingMemoryBound(to: CompiledRule.Layout.self) }
  @inline(__always)
  var head: UnsafeRawPointer { block + MemoryLayout<CompiledRule.Layout>.stride }
  @inline(__always)
  var identity: UnsafeRawPointer { head + Int(layout.pointee.headCount) }
  @inline(__always)
  var middle: UnsafeRawPointer { identity + Int(layout.pointee.identityCount) }
  @inline(__always)
  var delivery: UnsafeRawPointer { middle + Int(layout.pointee.middleCount) }

  /// The rule's id: it stands in its identity, behind its length.
  var id: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: identity + 4, count: Int(layout.pointee.ruleIDCount))
  }

  /// The object with the rule's code; only where `layout.hasCode`.
  var owner: CompiledRule? {
    layout.pointee.owner.map { Unmanaged<CompiledRule>.fromOpaque($0).takeUnretainedValue() }
  }

  /// By the ids' bytes: the order of an event's results.
  static func precedes(_ a: RuleReference, _ b: RuleReference) -> Bool {
    let (x, y) = (a.id, b.id)
    let order = memcmp(a.identity + 4, b.identity + 4, min(x.count, y.count))
    return order == 0 ? x.count < y.count : order < 0
  }
}
