/// Remembers what costs something to work out, in bounded memory: at least the last `capacity` / 2 keys that were asked for.
package struct BoundedCache<Key: Hashable & Sendable, Value: Sendable>: Sendable {
  // Two generations: when the young one is full it becomes the old one, and the old one goes. A key that is asked for is young again.
  private var young: [Key: Value] = [:]
  private var old: [Key: Value] = [:]
  private let half: Int

  /// - Parameter capacity: keys, at least 2.
  package init(capacity: Int) { half = max(1, capacity / 2) }

  package var count: Int { young.count + old.count }

  package mutating func value(for key: Key) -> Value? {
    if let value = young[key] { return value }
    guard let value = old.removeValue(forKey: key) else { return nil }
    insert(value, for: key)
    return value
  }

  package mutating func insert(_ value: Value, for key: Key) {
    if young.count >= half, young[key] == nil {
      old = young
      young = Dictionary(minimumCapacity: half)
    }
    young[key] = value
  }
}
