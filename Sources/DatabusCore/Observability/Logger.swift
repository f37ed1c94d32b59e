/// How much a log line matters.
public enum LogLevel: UInt8, Sendable, Hashable, Comparable, CaseIterable {
  case debug, info, warning, error

  public var name: String {
    switch self {
    case .debug: "debug"
    case .info: "info"
    case .warning: "warning"
    case .error: "error"
    }
  }

  public init?(name: String) {
    guard let level = LogLevel.allCases.first(where: { $0.name == name }) else { return nil }
    self = level
  }

  public static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }
}

/// A named value of a log line.
public struct LogField: Sendable, Hashable {
  public enum Value: Sendable, Hashable {
    case text(String)
    case integer(Int)
    case number(Double)
    case flag(Bool)
  }

  public var key: String
  public var value: Value

  public init(_ key: String, _ value: Value) {
    self.key = key
    self.value = value
  }
  public init(_ key: String, _ text: String) { self.init(key, .text(text)) }
  public init(_ key: String, _ number: Int) { self.init(key, .integer(number)) }
  public init(_ key: String, _ number: UInt64) { self.init(key, .integer(Int(clamping: number))) }
  public init(_ key: String, _ number: Double) { self.init(key, .number(number)) }
  public init(_ key: String, _ flag: Bool) { self.init(key, .flag(flag)) }
}

/// One thing that happened: what, where, what to do about it.
public struct LogLine: Sendable, Hashable {
  public var level: LogLevel
  /// Milliseconds since 1970.
  public var timestamp: Int64
  /// The part of the program that speaks: `router`, `sqlite-log`.
  public var part: String
  public var what: String
  /// `stream/partition/position`, `file:line:column`, or nil.
  public var place: String?
  /// What a person can do; nil where nothing needs to be done.
  public var remedy: String?
  public var fields: [LogField]

  public init(
    level: LogLevel, timestamp: Int64, part: String, what: String, place: String? = nil, remedy: String? = nil,
    fields: [LogField] = []
  ) {
    self.level = level
    self.timestamp = timestamp
    self.part = part
    self.what = what
    self.place = place
    self.remedy = remedy
    self.fields = fields
  }
}

/// Takes log lines. Called from any thread; a call is short and never fails.
public protocol LogSink: Sendable {
  func write(_ line: LogLine)
}

/// Writes log lines of one part of the program. What it is given is not evaluated while its level is off: that costs a
/// comparison and allocates nothing.
public struct Logger: Sendable {
  /// The lowest level that is written; nil: none is.
  public let minimum: LogLevel?
  public let part: String
  private let sink: (any LogSink)?
  private let clock: any EngineClock

  public init(part: String, minimum: LogLevel = .info, sink: any LogSink, clock: any EngineClock = SystemClock()) {
    self.part = part
    self.minimum = minimum
    self.sink = sink
    self.clock = clock
  }

  private init() {
    part = ""
    minimum = nil
    sink = nil
    clock = SystemClock()
  }

  /// Writes nothing.
  public static let off = Logger()

  /// The same for another part of the program.
  public func named(_ part: String) -> Logger {
    guard let sink, let minimum else { return self }
    return Logger(part: part, minimum: minimum, sink: sink, clock: clock)
  }

  @inline(__always)
  public func isOn(_ level: LogLevel) -> Bool {
    guard let minimum else { return false }
    return level >= minimum
  }

  @inline(__always)
  public func log(
    _ level: LogLevel, _ what: @autoclosure () -> String, at place: @autoclosure () -> String? = nil,
    remedy: @autoclosure () -> String? = nil, _ fields: @autoclosure () -> [LogField] = []
  ) {
    if isOn(level) { write(level, what(), place(), remedy(), fields()) }
  }

  @inline(__always)
  public func debug(
    _ what: @autoclosure () -> String, at place: @autoclosure () -> String? = nil,
    remedy: @autoclosure () -> String? = nil, _ fields: @autoclosure () -> [LogField] = []
  ) {
    if isOn(.debug) { write(.debug, what(), place(), remedy(), fields()) }
  }

  @inline(__always)
  public func info(
    _ what: @autoclosure () -> String, at place: @autoclosure () -> String? = nil,
    remedy: @autoclosure () -> String? = nil, _ fields: @autoclosure () -> [LogField] = []
  ) {
    if isOn(.info) { write(.info, what(), place(), remedy(), fields()) }
  }

  @inline(__always)
  public func warning(
    _ what: @autoclosure () -> String, at place: @autoclosure () -> String? = nil,
    remedy: @autoclosure () -> String? = nil, _ fields: @autoclosure () -> [LogField] = []
  ) {
    if isOn(.warning) { write(.warning, what(), place(), remedy(), fields()) }
  }

  @inline(__always)
  public func error(
    _ what: @autoclosure () -> String, at place: @autoclosure () -> String? = nil,
    remedy: @autoclosure () -> String? = nil, _ fields: @autoclosure () -> [LogField] = []
  ) {
    if isOn(.error) { write(.error, what(), place(), remedy(), fields()) }
  }

  @inline(never)
  private func write(_ level: LogLevel, _ what: String, _ place: String?, _ remedy: String?, _ fields: [LogField]) {
    sink?.write(
      LogLine(
        level: level, timestamp: clock.wallMilliseconds(), part: part, what: what, place: place, remedy: remedy,
        fields: fields))
  }
}
