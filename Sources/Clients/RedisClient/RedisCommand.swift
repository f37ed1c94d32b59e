import CCrypto

/// A Lua script that runs in Redis: sent once, then called by its hash.
public struct RedisScript: Sendable, Hashable {
  public let source: String
  /// What servers call it by: the SHA-1 of the source in 40 hexadecimal digits.
  public let hash: String
  /// The first two arguments of its call, as they go over the line.
  let call: [UInt8]

  public init(_ source: String) {
    self.source = source
    hash = RedisScript.hash(of: Array(source.utf8))
    call = Array("$7\r\nEVALSHA\r\n$\(hash.utf8.count)\r\n\(hash)\r\n".utf8)
  }

  private static func hash(of bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    let text = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 20) { digest in
      SHA1(bytes, bytes.count, digest.baseAddress)
      return digest.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
    }
    return String(decoding: text, as: UTF8.self)
  }

  public static func == (a: RedisScript, b: RedisScript) -> Bool { a.hash == b.hash }
  public func hash(into hasher: inout Hasher) { hasher.combine(hash) }
}

/// A command with its arguments, which are bytes: zero bytes and all. Many small ones cost less as a `RedisPipeline`.
public struct RedisCommand: Sendable {
  /// The arguments behind one another: one piece of memory, however many they are.
  private(set) var bytes: [UInt8] = []
  private(set) var lengths: [Int] = []
  /// nil: the first argument is the command's name.
  let script: RedisScript?

  public init(_ name: String, _ arguments: String...) {
    script = nil
    append(name)
    for argument in arguments { append(argument) }
  }

  /// A call of a script. Its arguments are appended.
  ///
  /// - Parameter keys: all keys that the script uses: in a cluster they must be of one slot.
  public init(_ script: RedisScript, keys: [String]) {
    self.script = script
    append(keys.count)
    for key in keys { append(key) }
  }

  public mutating func append(_ argument: String) {
    lengths.append(argument.utf8.count)
    bytes.append(contentsOf: argument.utf8)
  }

  public mutating func append(_ argument: [UInt8]) {
    lengths.append(argument.count)
    bytes.append(contentsOf: argument)
  }

  public mutating func append(_ argument: some BinaryInteger) { append(String(argument)) }

  /// An argument that begins with one byte and goes on with others.
  public mutating func append(_ first: UInt8, _ rest: [UInt8]) {
    lengths.append(rest.count + 1)
    bytes.append(first)
    bytes.append(contentsOf: rest)
  }

  /// Makes room for arguments of so many bytes in all.
  public mutating func reserve(arguments: Int, bytes count: Int) {
    lengths.reserveCapacity(lengths.count + arguments)
    bytes.reserveCapacity(bytes.count + count)
  }

  /// What the command weighs on its way.
  public var byteCount: Int { bytes.count }
}
