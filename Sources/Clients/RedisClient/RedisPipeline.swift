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
    append("EVALSHA")
    append(script.hash)
    append(keys)
  }

  public mutating func append(_ command: RedisCommand) {
    if let script = command.script {
      scripts.insert(script)
      open(command.lengths.count + 2)
      append("EVALSHA")
      append(script.hash)
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
    bytes.append(UInt8(ascii: "*"))
    number(arguments)
    newline()
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
    var length = argument < 0 ? 2 : 1
    var rest = argument.magnitude / 10
    while rest > 0 {
      length += 1
      rest /= 10
    }
    beginArgument(length)
    number(argument)
    endArgument()
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

  private mutating func beginArgument(_ length: Int) {
    bytes.append(UInt8(ascii: "$"))
    number(length)
    newline()
  }

  private mutating func endArgument() {
    newline()
    missing -= 1
    if missing == 0 { ends.append(bytes.count) }
  }

  private mutating func newline() {
    bytes.append(0x0D)
    bytes.append(0x0A)
  }

  private mutating func write(_ word: UInt64) {
    withUnsafeBytes(of: word.bigEndian) { bytes.append(contentsOf: $0) }
  }

  private mutating func number(_ value: Int) {
    if value < 0 { bytes.append(UInt8(ascii: "-")) }
    let start = bytes.count
    var rest = value.magnitude
    repeat {
      bytes.append(UInt8(ascii: "0") + UInt8(rest % 10))
      rest /= 10
    } while rest > 0
    if bytes.count - start > 1 { bytes[start...].reverse() }
  }
}
