import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// What is known of the terminal that somebody sits at.
public struct Terminal: Sendable, Hashable {
  /// Columns; nil where the output is no terminal and lines may have any length.
  public var width: Int?
  /// Escape sequences for colour may be written to standard output.
  public var allowsColor: Bool

  public init(width: Int?, allowsColor: Bool) {
    self.width = width
    self.allowsColor = allowsColor
  }

  /// The terminal at a file descriptor, if it is one.
  public static func at(_ descriptor: Int32, environment: (String) -> String?) -> Terminal {
    guard isatty(descriptor) == 1 else { return Terminal(width: nil, allowsColor: false) }
    var size = winsize()
    var width = 80
    if ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 {
      width = Int(size.ws_col)
    } else if let columns = environment("COLUMNS").flatMap({ Int($0) }), columns > 0 {
      width = columns
    }
    return Terminal(width: width, allowsColor: DescriptorLogSink.allowsColor(environment: environment))
  }

  /// Text without what could steer a terminal: control characters become spaces. For whatever comes from outside.
  public static func printable(_ text: String) -> String {
    guard text.unicodeScalars.contains(where: isControl) else { return text }
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars { result.append(isControl(scalar) ? " " : scalar) }
    return String(result)
  }

  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    scalar.value < 0x20 || (0x7F..<0xA0).contains(scalar.value)
  }
}

/// Lines of aligned columns, for people.
public struct Table: Sendable {
  public enum Alignment: Sendable { case left, right }

  private let columns: [(title: String, alignment: Alignment)]
  private var rows: [[String]] = []

  public init(_ columns: [(title: String, alignment: Alignment)]) { self.columns = columns }
  public init(_ titles: [String]) { columns = titles.map { ($0, .left) } }

  /// Missing cells are empty, those too many are left out. Control characters become spaces.
  public mutating func add(_ cells: [String]) {
    let padded = cells.prefix(columns.count) + Array(repeating: "", count: max(0, columns.count - cells.count))
    rows.append(padded.map(Terminal.printable))
  }

  /// The lines with their newlines.
  ///
  /// - Parameter width: the widest column is cut, with "…", until a line fits; nil cuts nothing.
  public func text(width: Int?) -> String {
    var widths = columns.indices.map { column in
      max(columns[column].title.count, rows.map { $0[column].count }.max() ?? 0)
    }
    if let width {
      while widths.reduce(0, +) + 2 * (widths.count - 1) > width, let widest = widths.max(), widest > 8,
        let column = widths.lastIndex(of: widest)
      {
        let excess = widths.reduce(0, +) + 2 * (widths.count - 1) - width
        let second = widths.enumerated().filter { $0.offset != column }.map(\.element).max() ?? 8
        widths[column] = max(8, widest - excess, min(second - 1, widest - 1))
      }
    }
    return ([columns.map(\.title)] + rows).map { line($0, widths) }.joined()
  }

  private func line(_ cells: [String], _ widths: [Int]) -> String {
    var line = ""
    for (column, cell) in cells.enumerated() {
      let cut = cell.count > widths[column] ? cell.prefix(widths[column] - 1) + "…" : cell
      let space = String(repeating: " ", count: widths[column] - cut.count)
      if column > 0 { line += "  " }
      line += columns[column].alignment == .right ? space + cut : cut + space
    }
    while line.last == " " { line.removeLast() }
    return line + "\n"
  }
}

/// One line on a terminal that is written over and over while something takes long; nothing anywhere else. What somebody else
/// writes meanwhile is written over it.
public struct ProgressLine: Sendable {
  private let output: Output
  private let width: Int
  private let clock: any EngineClock
  private let interval: Duration
  private var next: Instant?
  private var isShown = false

  /// - Parameter output: usually standard error.
  public init(
    _ output: Output, width: Int = 80, interval: Duration = .milliseconds(100), clock: any EngineClock = SystemClock()
  ) {
    self.output = output
    self.width = width
    self.clock = clock
    self.interval = interval
  }

  /// Shows the line, unless one was shown a moment ago.
  public mutating func update(_ text: @autoclosure () -> String) throws {
    guard output.isTerminal else { return }
    let now = clock.now()
    if let next, now < next { return }
    next = now + interval
    isShown = true
    try output.write("\r\u{1B}[K" + Terminal.printable(text()).prefix(max(width - 1, 1)) + "\r")
  }

  /// Removes the line, so that other text can follow.
  public mutating func clear() throws {
    guard isShown else { return }
    isShown = false
    next = nil
    try output.write("\r\u{1B}[K")
  }
}
