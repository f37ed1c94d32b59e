import CRdkafka
import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// A list of partitions of one topic with an offset each, as librdkafka takes and fills it.
struct PartitionList: ~Copyable {
  private let pointer: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>

  /// The list lives for as long as the call.
  borrowing func withPointer<R, E: Error>(
    _ body: (UnsafeMutablePointer<rd_kafka_topic_partition_list_t>) throws(E) -> R
  ) throws(E) -> R {
    try body(pointer)
  }

  struct Entry {
    var index: Int
    var offset: Int64
    var error: rd_kafka_resp_err_t
    var metadata: String
  }

  init(_ topic: String, _ partitions: some Collection<(index: Int, offset: Int64)>) {
    pointer = rd_kafka_topic_partition_list_new(Int32(clamping: partitions.count))
    for (index, offset) in partitions { add(topic, index, offset) }
  }

  init(_ topic: String, _ indices: [Int], offset: Int64 = databus_rd_kafka_offset_invalid) {
    self.init(topic, indices.map { ($0, offset) })
  }

  deinit { rd_kafka_topic_partition_list_destroy(pointer) }

  private mutating func add(_ topic: String, _ index: Int, _ offset: Int64) {
    guard let entry = rd_kafka_topic_partition_list_add(pointer, topic, Int32(clamping: index)) else { return }
    entry.pointee.offset = offset
  }

  /// Gives the entry at `place` this metadata, which librdkafka frees with the list.
  mutating func setMetadata(_ text: String, at place: Int) {
    guard place >= 0, place < Int(pointer.pointee.cnt), let elements = pointer.pointee.elems else { return }
    let bytes = Array(text.utf8)
    guard let copy = malloc(max(bytes.count, 1)) else { return }
    bytes.withUnsafeBytes { source in
      if let base = source.baseAddress { copy.copyMemory(from: base, byteCount: bytes.count) }
    }
    elements[place].metadata = copy
    elements[place].metadata_size = bytes.count
  }

  var entries: [Entry] { PartitionList.entries(pointer) }

  static func entries(_ list: UnsafePointer<rd_kafka_topic_partition_list_t>) -> [Entry] {
    guard let elements = list.pointee.elems else { return [] }
    return (0..<Int(list.pointee.cnt)).map { place in
      let element = elements[place]
      var metadata = ""
      if let bytes = element.metadata {
        metadata = String(
          decoding: UnsafeRawBufferPointer(start: bytes, count: element.metadata_size), as: UTF8.self)
      }
      return Entry(
        index: Int(element.partition), offset: element.offset, error: element.err, metadata: metadata)
    }
  }

  static func entries(_ list: UnsafeMutablePointer<rd_kafka_topic_partition_list_t>) -> [Entry] {
    entries(UnsafePointer(list))
  }
}
