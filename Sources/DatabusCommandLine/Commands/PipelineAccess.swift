import DatabusCore
import Dispatcher

/// The parts that a configuration names, opened: for the process that runs the pipeline and for tools beside it.
struct PipelineAccess: Sendable {
  private(set) var configuration: DatabusConfiguration
  let access: ComponentAccess
  let registry: ComponentRegistry
  let log: Logger
  private(set) var state: any StateBackend

  /// Opens the state. Transports are opened when they are asked for.
  ///
  /// - Throws: `StateError`.
  init(
    _ configuration: DatabusConfiguration, _ registry: ComponentRegistry, for access: ComponentAccess,
    log: Logger = .off
  ) async throws {
    self.configuration = configuration
    self.registry = registry
    self.access = access
    self.log = log
    guard let type = registry.stateBackend(configuration.state.type) else {
      throw CommandFailure(.usage, "this program has no state backend \"\(configuration.state.type)\"")
    }
    state = try await type.make(
      configuration.state.settings,
      configuration.context(named: "state", logger: log.named("state"), access: access))
  }

  /// The same as the dispatcher sees it that reads this stream: by its group, with its part of the state. It is closed as this one.
  func reading(_ stream: DispatchStream) -> PipelineAccess {
    var other = self
    other.configuration.pipeline.name = stream.group
    other.configuration.pipeline.events.stream = stream.reference
    other.state = ResultDispatcher.state(in: state)
    return other
  }

  /// Opens the transport of this name.
  ///
  /// - Throws: `TransportError`.
  func transport(_ name: String) async throws -> any Transport {
    guard let entry = configuration.transport(name), let type = registry.transport(entry.type) else {
      let names = configuration.transports.map { "\"\($0.name)\"" }.joined(separator: ", ")
      throw CommandFailure(
        .usage, "there is no transport \"\(name)\" in the configuration", hint: "name one of: \(names)")
    }
    return try await type.make(
      entry.settings, configuration.context(named: name, logger: log.named(name), access: access, state: state))
  }

  /// Opens the transports of these names.
  func transports(_ names: Set<String>) async throws -> [String: any Transport] {
    var opened: [String: any Transport] = [:]
    do {
      for name in names.sorted() { opened[name] = try await transport(name) }
    } catch {
      for transport in opened.values { await transport.close() }
      throw error
    }
    return opened
  }

  /// What the transport of this name can do, without opening it.
  func capabilities(of name: String) -> TransportCapabilities {
    guard let entry = configuration.transport(name), let type = registry.transport(entry.type) else {
      return TransportCapabilities(source: nil, sink: nil)
    }
    return type.capabilities(entry.settings)
  }

  var stateCapabilities: StateCapabilities {
    registry.stateBackend(configuration.state.type)?.capabilities ?? state.capabilities
  }

  /// The pipeline's state is in a place that another process can see.
  var isStateVisible: Bool { stateCapabilities.isShared || stateCapabilities.isDurable }

  /// The transports that the pipeline uses.
  var pipelineTransports: Set<String> {
    let pipeline = configuration.pipeline
    return [
      pipeline.events.stream.transport, pipeline.rules.stream.transport, pipeline.results.transport,
      pipeline.deadLetters.transport,
    ]
  }

  func close() async { await state.close() }
}

extension PipelineAccess {
  /// Runs `body` with a tool's access to what the configuration names.
  static func withTool<R>(
    _ arguments: ParsedArguments, _ context: CommandContext, _ body: (PipelineAccess) async throws -> R
  ) async throws -> R {
    let access = try await PipelineAccess(try context.configuration(arguments), context.registry, for: .tool)
    do {
      let result = try await body(access)
      await access.close()
      return result
    } catch {
      await access.close()
      throw error
    }
  }

  /// Runs `body` with an opened transport, and closes it.
  func withTransport<R>(_ name: String, _ body: (any Transport) async throws -> R) async throws -> R {
    let transport = try await transport(name)
    do {
      let result = try await body(transport)
      await transport.close()
      return result
    } catch {
      await transport.close()
      throw error
    }
  }
}

extension PipelineAccess {
  /// Asks the pipeline's state again and again until it has an answer, or `deadline` is over. The state may come into being
  /// while we wait: its reader is opened anew each time, and an error counts only at the end.
  ///
  /// - Parameter ask: returns nil to be asked again.
  static func poll<R>(
    _ configuration: DatabusConfiguration, _ registry: ComponentRegistry, until deadline: Instant,
    _ ask: (PipelineAccess) async throws -> R?
  ) async throws -> R? {
    let clock = SystemClock()
    while true {
      let isLast = clock.now() >= deadline
      do {
        let access = try await PipelineAccess(configuration, registry, for: .tool)
        do {
          let answer = try await ask(access)
          await access.close()
          if let answer { return answer }
        } catch {
          await access.close()
          throw error
        }
      } catch let error as StateError {
        if isLast { throw error }
      }
      if isLast { return nil }
      try await clock.sleep(for: .milliseconds(20))
    }
  }
}
