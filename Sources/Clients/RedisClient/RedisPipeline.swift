/// Commands as they go over the line, behind one another in one piece of memory. Emptied and filled again it costs no allocation:
/// for many small commands of a known form.
public struct RedisPipeline: Sendable {
  /// The protocol is RESP 2: `*` and the number of arguments, then `$`, the length and the bytes of each.
  private(set) var bytes: [UInt8] = []
  /// Where each command ends.
  private(set) var ends: [Int] = []
  /// The scripts that are called.
  private(set) var scripts: Set<RedisScript> = []
  /// How many arguments the last command still lacks.
  private var missing = 0

  public init() {}

  /// The number of commands.
  public var count: Int { ends.count }
  public var isEmpty: Bool { ends.isEmpty }

  /// Removes all commands and keeps the memory.
  public mutating func removeAll() {
    bytes.removeAll(keepingCapacity: true)
    ends.removeAll(keepingCapacity: true)
    scripts.removeAll(keepingCapacity: true)
  }

  /// Some of the commands, in their order.
  func picking(_ indices: [Int]) -> RedisPipeline {
    var picked = RedisPipeline()
    for index in indices {
      picked.bytes += bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]]
      picked.ends.append(picked.bytes.count)
    }
    return picked
  }

  // MARK: Commands

  /// Begins a command; exactly so many arguments are appended then.
  public mutating func begin(_ name: String, arguments: Int) {
    open(arguments + 1)
    append(name)
  }

  /// Begins a call of a script; exactly so many keys, and then arguments, are appended then.
  public mutating func begin(_ script: RedisScript, keys: Int, arguments: Int) {
    // Next to all calls of a pipeline are those of one script.
    if scripts.first != script { scripts.insert(script) }
    open(keys + arguments + 3)
    call(script)
    append(keys)
  }

  public mutating func append(_ command: RedisCommand) {
    if let script = command.script {
      scripts.insert(script)
      open(command.lengths.count + 2)
      call(script)
    } else {
      open(command.lengths.count)
    }
    var start = 0
    for length in command.lengths {
      append(command.bytes[start..<start + length])
      start += length
    }
  }

  private mutating func open(_ arguments: Int) {
    assert(missing == 0, "the command before this one lacks \(missing) arguments")
    missing = arguments
    write(UInt8(ascii: "*"), arguments)
  }

  /// The first two arguments of a script's call.
  private mutating func call(_ script: RedisScript) {
    bytes.append(contentsOf: script.call)
    missing -= 2
  }

  // MARK: Arguments

  public mutating func append(_ argument: String) {
    beginArgument(argument.utf8.count)
    bytes.append(contentsOf: argument.utf8)
    endArgument()
  }

  public mutating func append(_ argument: some Collection<UInt8>) {
    beginArgument(argument.count)
    bytes.append(contentsOf: argument)
    endArgument()
  }

  /// A number in decimal digits.
  public mutating func append(_ argument: Int) {
    // The 20 characters of the least number, the two of their count, a mark and the ends of two lines.
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 28) { buffer in
      let end = RedisPipeline.writeNewline(buffer, before: buffer.count)
      let digits = RedisPipeline.write(argument, buffer, before: end)
      let start = RedisPipeline.writeLine(UInt8(ascii: "$"), end - digits, buffer, before: digits)
      bytes.append(contentsOf: UnsafeBufferPointer(rebasing: buffer[start...]))
    }
    argumentIsWhole()
  }

  /// The eight bytes of a word, the most significant one first.
  public mutating func append(word: UInt64) {
    beginArgument(8)
    write(word)
    endArgument()
  }

  /// Bytes, and behind them those of two words.
  public mutating func append(_ first: [UInt8], words: (UInt64, UInt64)) {
    beginArgument(first.count + 16)
    bytes.append(contentsOf: first)
    write(words.0)
    write(words.1)
    endArgument()
  }

  private mutating func beginArgument(_ length: Int) { write(UInt8(ascii: "$"), length) }

  private mutating func endArgument() {
    bytes.append(0x0D)
    bytes.append(0x0A)
    argumentIsWhole()
  }

  private mutating func argumentIsWhole() {
    missing -= 1
    if missing == 0 { ends.append(bytes.count) }
  }

  private mutating func write(_ word: UInt64) {
    withUnsafeBytes(of: word.bigEndian) { bytes.append(contentsOf: $0) }
  }

  // MARK: Numbers

  // Put together in a place of their own and appended at once: byte by byte they would be what a pipeline costs most.

  /// A line of a mark and a number.
  private mutating func write(_ mark: UInt8, _ value: Int) {
    withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 24) { buffer in
      let start = RedisPipeline.writeLine(mark, value, buffer, before: buffer.count)
      bytes.append(contentsOf: UnsafeBufferPointer(rebasing: buffer[start...]))
    }
  }

  /// - Returns: where it begins.
  private static func writeLine(
    _ mark: UInt8, _ value: Int, _ buffer: UnsafeMutableBufferPointer<UInt8>, before end: Int
  ) -> Int {
    let start = write(value, buffer, before: writeNewline(buffer, before: end)) - 1
    buffer[start] = mark
    return start
  }

  /// - Returns: where it begins.
  private static func writeNewline(_ buffer: UnsafeMutableBufferPointer<UInt8>, before end: Int) -> Int {
    buffer[end - 2] = 0x0D
    buffer[end - 1] = 0x0A
    return end - 2
  }

  /// - Returns: where it begins.
  private static func write(_ value: Int, _ buffer: UnsafeMutableBufferPointer<UInt8>, before end: Int) -> Int {
    var start = end
    var rest = value.magnitude
    repeat {
      start -= 1
      buffer[start] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
      rest /= 10
    } while rest > 0
    if value < 0 {
      start -= 1
      buffer[start] = UInt8(ascii: "-")
    }
    return start
  }
}
