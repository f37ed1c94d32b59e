/// How a subcommand ended, as the shell sees it.
public struct ExitCode: RawRepresentable, Sendable, Hashable {
  public var rawValue: Int32
  public init(rawValue: Int32) { self.rawValue = rawValue }

  public static let done = ExitCode(rawValue: 0)
  /// Something failed while it ran.
  public static let failed = ExitCode(rawValue: 1)
  /// The command line or the configuration is wrong; nothing was done.
  public static let usage = ExitCode(rawValue: 2)
  /// `--strict`: it ran, and not everything was as it should be.
  public static let strict = ExitCode(rawValue: 3)
}

/// A subcommand that cannot go on: what is said to the person, and the exit code.
public struct CommandFailure: Error, Sendable, CustomStringConvertible {
  public var code: ExitCode
  /// A sentence.
  public var message: String
  /// What to do about it.
  public var hint: String?

  public init(_ code: ExitCode = .failed, _ message: String, hint: String? = nil) {
    self.code = code
    self.message = message
    self.hint = hint
  }

  public var description: String { hint.map { "\(message)\n    \($0)" } ?? message }
}
