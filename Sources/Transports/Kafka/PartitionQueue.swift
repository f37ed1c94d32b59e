import CRdkafka
import DatabusCore
import Synchronization

/// The records that librdkafka has fetched of one partition, in a queue of their own, so that each batch is of one partition and a
/// partition that is not read holds back no other.
///
/// The queue keeps its partition's fetching within bounds: one that is not read fills up, and fetching stops.
final class PartitionQueue: @unchecked Sendable {
  // Sendable: librdkafka's queue is safe on any thread; `carry` and `carrySeeks` are touched by the one caller of `take` only.
  private let queue: OpaquePointer
  private let client: KafkaClient
  private let arrival: Arrival
  private let capacity: Int
  /// Taken from the queue and not delivered: there was no room for their bytes.
  private var carry: ArraySlice<KafkaMessage> = []
  /// The seek that `carry` was read after.
  private var carrySeeks = 0

  /// What librdkafka's callback touches.
  private final class Arrival: Sendable {
    let hasMore = Atomic(true)
    let signal: Signal
    init(_ signal: Signal) { self.signal = signal }
  }

  /// - Parameters:
  ///   - capacity: the records at which librdkafka stops fetching.
  ///   - signal: notified when something comes into an empty queue.
  init?(_ client: KafkaClient, _ topic: String, _ index: Int, capacity: Int, signal: Signal) {
    guard let queue = rd_kafka_queue_get_partition(client.handle, topic, Int32(clamping: index)) else { return nil }
    self.queue = queue
    self.client = client
    client.retain()
    self.capacity = capacity
    arrival = Arrival(signal)
    // Away from the consumer's common queue, for good: librdkafka leaves a queue alone that was forwarded by hand.
    rd_kafka_queue_forward(queue, nil)
    rd_kafka_queue_cb_event_enable(
      queue,
      { _, opaque in
        guard let opaque else { return }
        let arrival = Unmanaged<Arrival>.fromOpaque(opaque).takeUnretainedValue()
        arrival.hasMore.store(true, ordering: .releasing)
        arrival.signal.notify()
      }, Unmanaged.passUnretained(arrival).toOpaque())
  }

  deinit {
    // Waits for a callback that is under way: `arrival` outlives it.
    rd_kafka_queue_cb_event_enable(queue, nil, nil)
    for message in carry { rd_kafka_message_destroy(message) }
    rd_kafka_queue_destroy(queue)
    client.release()
  }

  /// Whether it is worth a look.
  var hasMore: Bool { arrival.hasMore.load(ordering: .acquiring) }

  /// Something may be there, whatever librdkafka has said.
  func lookAgain() { arrival.hasMore.store(true, ordering: .releasing) }

  /// Fetching stops, or is about to.
  var isFull: Bool { rd_kafka_queue_length(queue) >= capacity }

  /// Takes what is there, at most `count`, errors among them. The caller owns it.
  func take(_ count: Int, after seeks: Int) -> [KafkaMessage] {
    if !carry.isEmpty {
      let kept = carry
      carry = []
      if carrySeeks == seeks {
        carry = kept.dropFirst(count)
        return Array(kept.prefix(count))
      }
      for message in kept { rd_kafka_message_destroy(message) }
    }
    // What comes from here on is told anew.
    arrival.hasMore.store(false, ordering: .sequentiallyConsistent)
    let messages = [KafkaMessage](unsafeUninitializedCapacity: count) { buffer, taken in
      buffer.withMemoryRebound(to: KafkaMessage?.self) { buffer in
        taken = max(0, rd_kafka_consume_batch_queue(queue, 0, buffer.baseAddress, count))
      }
    }
    if messages.count == count { lookAgain() }
    return messages
  }

  /// Keeps messages for the next `take`.
  func putBack(_ messages: some Sequence<KafkaMessage>, after seeks: Int) {
    carry = ArraySlice(messages) + carry
    carrySeeks = seeks
    lookAgain()
  }
}
