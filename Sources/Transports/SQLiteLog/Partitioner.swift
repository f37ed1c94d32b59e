/// Chooses the partition of a record with a key as Kafka's default partitioner does: murmur2, without the sign bit, modulo the
/// number of partitions. So a topic that moves to Kafka keeps every key where it was.
enum Partitioner {
  static func partition(of key: UnsafeRawBufferPointer, among count: Int) -> Int {
    Int(murmur2(key) & 0x7fff_ffff) % count
  }

  static func murmur2(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    let m: UInt32 = 0x5bd1_e995
    var hash: UInt32 = 0x9747_b28c ^ UInt32(truncatingIfNeeded: bytes.count)
    var offset = 0
    while offset + 4 <= bytes.count {
      var k = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      k = k &* m
      k ^= k >> 24
      k = k &* m
      hash = (hash &* m) ^ k
      offset += 4
    }
    let rest = bytes.count - offset
    if rest > 0 {
      for index in (0..<rest).reversed() { hash ^= UInt32(bytes[offset + index]) << UInt32(8 * index) }
      hash = hash &* m
    }
    hash ^= hash >> 13
    hash = hash &* m
    return hash ^ (hash >> 15)
  }
}
