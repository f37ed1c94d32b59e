/// The hash of an event type. It depends on the bytes alone: rules are hashed once, when they are compiled.
enum TypeHash {
  @inline(__always)
  static func hash(_ start: UnsafeRawPointer, _ count: Int) -> UInt64 {
    var hash: UInt64 = 0x9E37_79B9_7F4A_7C15 ^ (UInt64(truncatingIfNeeded: count) &* 0xA076_1D64_78BD_642F)
    var place = 0
    while place &+ 8 <= count {
      hash = mix(hash ^ start.loadUnaligned(fromByteOffset: place, as: UInt64.self))
      place = place &+ 8
    }
    let rest = count &- place
    if rest > 0 {
      var tail: UInt64 = 0
      if count >= 8 {
        tail = start.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self) >> UInt64(64 &- rest &* 8)
      } else {
        for index in 0..<rest {
          tail |= UInt64(start.load(fromByteOffset: place &+ index, as: UInt8.self)) << UInt64(index &* 8)
        }
      }
      hash = mix(hash ^ tail)
    }
    return mix(hash)
  }

  @inline(__always)
  private static func mix(_ value: UInt64) -> UInt64 {
    let product = value.multipliedFullWidth(by: 0xE703_7ED1_A0B4_28DB)
    return product.high ^ product.low
  }
}
