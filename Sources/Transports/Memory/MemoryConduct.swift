import DatabusCore

/// A delivery that a sink accepted and whose end a test holds back.
public struct HeldDelivery: Hashable, Sendable {
  /// Names it to `MemoryTransport.Control.release` and `fail`; ascending in the order of acceptance.
  public let id: UInt64
  public let key: [UInt8]?
  public let value: [UInt8]?
  public let headers: [Header]
  /// Milliseconds since 1970.
  public let timestamp: Int64

  /// The value as text; broken UTF-8 is repaired, a tombstone is empty.
  public var text: String { String(decoding: value ?? [], as: UTF8.self) }
}

/// How a stream behaves towards its sources and sinks, as a test tells it. Touched only under the log's lock.
final class MemoryConduct {
  typealias Operation = MemoryTransport.Control.Operation

  private struct Planned {
    var error: TransportError
    /// nil: until it is taken back.
    var times: Int?
  }

  private struct Held {
    var delivery: HeldDelivery
    var sink: MemorySink
    /// The sink's count of accepted deliveries.
    var number: UInt64
    var token: UInt64
  }

  private var planned: [Operation: [Planned]] = [:]
  private var rejections: [(error: TransportError, matches: @Sendable ([UInt8]?) -> Bool)] = []
  private var held: [Held] = []
  private var lastID: UInt64 = 0
  /// How many deliveries will be accepted before there is no room; nil: any number.
  private(set) var room: Int?
  var isHolding = false
  var sinks: [MemorySink] = []

  /// Deliveries may be taken in bulk.
  var isPlain: Bool { !isHolding && rejections.isEmpty }

  // MARK: Failures

  func plan(_ operation: Operation, _ error: TransportError, times: Int?) {
    planned[operation, default: []].append(Planned(error: error, times: times))
  }

  func recover(_ operation: Operation) { planned[operation] = nil }

  /// The failure that is due for a call, which counts as one of its times.
  func take(_ operation: Operation) -> TransportError? {
    if planned.isEmpty { return nil }
    guard var list = planned[operation], var first = list.first else { return nil }
    if let times = first.times {
      first.times = times - 1
      list[0] = first
      if times <= 1 { list.removeFirst() }
      planned[operation] = list.isEmpty ? nil : list
    }
    return first.error
  }

  func raise(_ operation: Operation) throws {
    if let error = take(operation) { throw error }
  }

  func reject(_ error: TransportError, _ matches: @escaping @Sendable ([UInt8]?) -> Bool) {
    rejections.append((error, matches))
  }

  func acceptAll() { rejections = [] }

  func rejection(_ batch: borrowing DeliveryBatch, _ index: Int) -> TransportError? {
    if rejections.isEmpty { return nil }
    let value = batch.valueBytes(index)
    return rejections.first { $0.matches(value) }?.error
  }

  // MARK: Room

  func limitRoom(_ deliveries: Int?) {
    room = deliveries.map { max($0, 0) }
    for sink in sinks { sink.wake() }
  }

  func spend(_ deliveries: Int) {
    if let room { self.room = room - deliveries }
  }

  // MARK: Held deliveries

  var heldDeliveries: [HeldDelivery] { held.map(\.delivery) }

  func heldCount(of sink: MemorySink) -> Int {
    held.isEmpty ? 0 : held.count { $0.sink === sink }
  }

  func hasHeld(of sink: MemorySink, before mark: UInt64) -> Bool {
    held.contains { $0.sink === sink && $0.number < mark }
  }

  func hold(_ batch: borrowing DeliveryBatch, _ index: Int, of sink: MemorySink, number: UInt64) {
    lastID += 1
    let delivery = HeldDelivery(
      id: lastID, key: batch.keyBytes(index), value: batch.valueBytes(index),
      headers: batch.headers(at: index), timestamp: batch[index].timestamp)
    held.append(Held(delivery: delivery, sink: sink, number: number, token: batch.token(at: index)))
  }

  func drop(of sink: MemorySink) { held.removeAll { $0.sink === sink } }

  /// Takes held deliveries out in the order of `ids` (nil: all, as they were accepted), appends them where asked to.
  /// The ends are told by the caller, outside of the lock.
  func takeHeld(_ ids: [UInt64]?, appending: Bool) throws -> [(sink: MemorySink, token: UInt64)] {
    var ended: [(sink: MemorySink, token: UInt64)] = []
    for id in ids ?? held.map(\.delivery.id) {
      guard let index = held.firstIndex(where: { $0.delivery.id == id }) else { continue }
      let taken = held[index]
      if appending { try taken.sink.append(held: taken.delivery) }
      held.remove(at: index)
      ended.append((taken.sink, taken.token))
    }
    return ended
  }
}

extension DeliveryBatch {
  fileprivate func valueBytes(_ index: Int) -> [UInt8]? {
    let raw = self[index].raw
    return raw.isTombstone ? nil : Array(contents[raw.valueOffset..<raw.valueOffset + raw.valueCount])
  }

  fileprivate func keyBytes(_ index: Int) -> [UInt8]? {
    let raw = self[index].raw
    return raw.keyOffset < 0 ? nil : Array(contents[raw.keyOffset..<raw.keyOffset + raw.keyCount])
  }
}
