import CCrypto

/// HMAC with SHA-256 (RFC 2104). The key's two blocks are hashed once: each code starts from copies of the two states, which are
/// plain values.
struct HMACSHA256: Sendable {
  /// Bytes of a code.
  static let length = 32
  private static let blockLength = 64

  private let inner: SHA256_CTX
  private let outer: SHA256_CTX
  private var context: SHA256_CTX

  init(key: [UInt8]) {
    var block = key
    if block.count > HMACSHA256.blockLength {
      var state = SHA256_CTX()
      SHA256_Init(&state)
      SHA256_Update(&state, key, key.count)
      block = HMACSHA256.finish(&state)
    }
    block += [UInt8](repeating: 0, count: HMACSHA256.blockLength - block.count)
    inner = HMACSHA256.state(after: block.map { $0 ^ 0x36 })
    outer = HMACSHA256.state(after: block.map { $0 ^ 0x5C })
    context = inner
  }

  private static func state(after block: [UInt8]) -> SHA256_CTX {
    var state = SHA256_CTX()
    SHA256_Init(&state)
    SHA256_Update(&state, block, block.count)
    return state
  }

  private static func finish(_ state: inout SHA256_CTX) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: length) { room, count in
      SHA256_Final(room.baseAddress, &state)
      count = length
    }
  }

  mutating func update(_ text: String) {
    var text = text
    text.withUTF8 { _ = SHA256_Update(&context, $0.baseAddress, $0.count) }
  }

  mutating func update(_ bytes: [UInt8], _ range: Range<Int>) {
    bytes.withUnsafeBytes { bytes in
      let part = UnsafeRawBufferPointer(rebasing: bytes[range])
      SHA256_Update(&context, part.baseAddress, part.count)
    }
  }

  /// The code of what came since the last one.
  mutating func finish() -> [UInt8] {
    let digest = HMACSHA256.finish(&context)
    context = outer
    SHA256_Update(&context, digest, digest.count)
    defer { context = inner }
    return HMACSHA256.finish(&context)
  }

  /// Takes as long wherever the two differ.
  static func areEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    a.count == b.count && CRYPTO_memcmp(a, b, a.count) == 0
  }
}
