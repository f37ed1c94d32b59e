import DatabusCore
import Dispatcher

/// What a command has around it. Tests make their own.
public struct CommandContext: Sendable {
  /// The program with all its subcommands, for help and completion.
  public var program: Command
  public var registry: ComponentRegistry
  /// The delivery channels and deduplication stores of the program. `registry` has their section.
  public var dispatcher: DispatcherRegistry
  public var output: Output
  public var errors: Output
  /// Of standard output.
  public var terminal: Terminal
  /// The value of an environment variable; nil where it is not set.
  public var environment: @Sendable (String) -> String?
  public var logSink: any LogSink
  public var signals: Signals

  public init(
    program: Command, registry: ComponentRegistry, dispatcher: DispatcherRegistry = BuiltInComponents.dispatcher,
    output: Output, errors: Output, terminal: Terminal,
    environment: @escaping @Sendable (String) -> String?, logSink: any LogSink, signals: Signals = Signals()
  ) {
    self.program = program
    self.registry = registry
    self.dispatcher = dispatcher
    self.output = output
    self.errors = errors
    self.terminal = terminal
    self.environment = environment
    self.logSink = logSink
    self.signals = signals
  }

  /// The logger for a command that declares `Option.logLevel`.
  public func logger(_ arguments: ParsedArguments, part: String) -> Logger {
    Logger(part: part, minimum: arguments.value("log-level").flatMap(LogLevel.init) ?? .info, sink: logSink)
  }

  /// The configuration for a command that declares `Option.config`.
  ///
  /// - Throws: `ConfigurationError`, which the program prints before it ends with exit code 2.
  public func configuration(_ arguments: ParsedArguments) throws(ConfigurationError) -> DatabusConfiguration {
    let loader = ConfigurationLoader(registry: registry, environment: environment)
    return try loader.load(path: loader.path(option: arguments.value("config")))
  }
}
