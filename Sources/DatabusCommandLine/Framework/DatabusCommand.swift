import DatabusCore
import Dispatcher

#if canImport(Glibc)
  import Glibc
#endif

/// The program. Somebody else's adds its components in ten lines:
///
/// ```swift
/// import DatabusCommandLine
///
/// DatabusCommand.main(registering: [.transport(MyTransport.type)])
/// ```
public enum DatabusCommand {
  /// Something that the JSON file, `validate`, schema and help are to know by its name.
  public enum Component: Sendable {
    case transport(TransportType)
    case stateBackend(StateBackendType)
    case deliveryChannel(DeliveryChannelType)
    case deduplicationStore(DeduplicationStoreType)
  }

  public static let version = "0.1.0"

  /// Runs the process's command line and ends the process. Call it first, before any thread is made.
  ///
  /// The main thread then only waits for signals: nothing that a command does may need the main actor.
  public static func main(registering components: [Component] = []) -> Never {
    // A reader that goes away is an error of `write`, not the end of the process without a word.
    signal(SIGPIPE, SIG_IGN)
    let environment: @Sendable (String) -> String? = { name in getenv(name).map { String(cString: $0) } }
    let signals = Signals()
    let context = CommandContext(
      program: program, registry: registry(components), dispatcher: dispatcher(components),
      output: Output(descriptor: STDOUT_FILENO),
      errors: Output(descriptor: STDERR_FILENO), terminal: .at(STDOUT_FILENO, environment: environment),
      environment: environment, logSink: DescriptorLogSink.standardError(environment: environment), signals: signals)
    let words = Array(CommandLine.arguments.dropFirst())
    let handlesSignals =
      if case .run(let command, _)? = try? ArgumentParser.parse(words, program: program) { command.handlesSignals } else
      {
        false
      }
    if handlesSignals { Signals.block() }
    Task.detached {
      let code = await run(words, context)
      exit(code.rawValue)
    }
    if handlesSignals { signals.wait() }
    while true { pause() }
  }

  /// The built-in components and those of this program.
  public static func registry(_ components: [Component]) -> ComponentRegistry {
    var registry = BuiltInComponents.registry
    for component in components {
      switch component {
      case .transport(let type): registry.register(type)
      case .stateBackend(let type): registry.register(type)
      case .deliveryChannel, .deduplicationStore: break
      }
    }
    registry.register(dispatcher(components).section)
    return registry
  }

  /// What the dispatcher has: built in, and of this program.
  public static func dispatcher(_ components: [Component]) -> DispatcherRegistry {
    var registry = BuiltInComponents.dispatcher
    for component in components {
      switch component {
      case .transport, .stateBackend: break
      case .deliveryChannel(let type): registry.register(type)
      case .deduplicationStore(let type): registry.register(type)
      }
    }
    return registry
  }

  /// Parses and runs a command line, and writes what went wrong to the context's standard error.
  ///
  /// - Parameter words: without the program's name.
  public static func run(_ words: [String], _ context: CommandContext) async -> ExitCode {
    var code: ExitCode
    do {
      switch try ArgumentParser.parse(words, program: context.program) {
      case .help(let command, let path):
        // Asked for, it is the answer; shown because a subcommand is missing, it is a complaint.
        let isAnswer = words.contains("--help") || words.contains("-h")
        try (isAnswer ? context.output : context.errors).write(
          HelpText.write(command, path: path, width: context.terminal.width ?? 100))
        code = isAnswer ? .done : .usage
      case .run(let command, let arguments):
        code = try await command.run?(arguments, context) ?? .usage
      }
      try context.output.flush()
    } catch {
      code = report(error, context)
    }
    // Standard error is the last place to say anything.
    try? context.errors.flush()
    return code
  }

  private static func report(_ error: any Error, _ context: CommandContext) -> ExitCode {
    let text: String
    let code: ExitCode
    switch error {
    case is OutputClosed: return .done
    case let error as UsageError: (text, code) = (error.description, .usage)
    case let error as ConfigurationError: (text, code) = ("\(error)\n", .usage)
    case let error as CommandFailure: (text, code) = ("\(context.program.name): \(error)\n", error.code)
    default: (text, code) = ("\(context.program.name): \(error)\n", .failed)
    }
    // What was written before the error still belongs to the person; that its reader is gone as well changes nothing.
    try? context.output.flush()
    try? context.errors.write(text)
    return code
  }
}
