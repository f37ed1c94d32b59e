import DatabusCore
import FileTransport
import MemoryState

/// One run of `route`: a pipeline over files, with state that ends with it.
struct RouteRun: Sendable {
  enum Outcome: Sendable {
    case finished(RouteSummary)
    /// Whoever read the results has gone (`| head`).
    case readerGone
  }

  var rules: String
  var events: [String]
  var deadLetters: String
  var runID: String?
  var workers: Int
  var log: Logger
  /// Where somebody sees how far it is; nil where nobody looks.
  var progress: Output?

  /// - Throws: `Pipeline.Failure` where it cannot start, `CommandFailure` where its output cannot be written.
  func run(_ signals: Signals) async throws -> Outcome {
    let clock = SystemClock()
    let start = clock.now()
    let (outcomes, outcome) = AsyncStream.makeStream(
      of: Result<Outcome, any Error>.self, bufferingPolicy: .bufferingOldest(1))
    let pipeline = makePipeline { error in
      // Nothing is tried again here: whoever called the program decides what to do about a full disk.
      outcome.yield(error.class == .fatal ? .success(.readerGone) : .failure(CommandFailure(.failed, error.message)))
    }
    let interruption = Task {
      for await _ in signals.stream { pipeline.stop() }
    }
    defer { interruption.cancel() }
    Task {
      do {
        try await pipeline.run()
        let presence = await pipeline.presence()
        let elapsed = clock.now() - start
        outcome.yield(
          .success(.finished(RouteSummary(counts: presence.counts, rules: presence.ruleCount, elapsed: elapsed))))
      } catch {
        outcome.yield(.failure(error))
      }
    }
    let watch = progress.map { output in Task { try await Self.show(pipeline, on: output) } }
    var result: Result<Outcome, any Error> = .success(.readerGone)
    for await first in outcomes {
      result = first
      break
    }
    watch?.cancel()
    try await watch?.value
    return try result.get()
  }

  /// Shows how far the pipeline is until it is cancelled.
  private static func show(_ pipeline: Pipeline, on output: Output) async throws {
    var line = ProgressLine(output)
    let clock = SystemClock()
    while !Task.isCancelled {
      let counts = await pipeline.presence().counts
      try line.update(
        "\(counts.events) events, \(counts.results) results, \(counts.deadLetters) dead letters")
      try? await clock.sleep(for: .milliseconds(200))
    }
    try line.clear()
  }

  private func makePipeline(_ failed: @escaping @Sendable (TransportError) -> Void) -> Pipeline {
    // Bytes bound what is in flight. A bound on records would pause a file in the middle, and the next one would overtake it.
    let limits = Limits(batchRecords: 2048, inFlightRecords: 1 << 40, inFlightBytes: 2 << 20)
    let files = FileTransport(
      configuration: FileTransportConfiguration(
        streams: [
          "events": .init(paths: events), "rules": .init(paths: [rules]), "results": .init(paths: ["-"]),
          "dead-letters": .init(paths: [deadLetters]),
        ], runID: runID, maximumLineBytes: max(limits.eventBytes, limits.ruleBytes), bufferBytes: 512 << 10))
    let name = "files"
    func stream(_ stream: String) -> StreamReference { StreamReference(transport: name, stream: stream) }
    var parts = Pipeline.Parts(
      configuration: PipelineConfiguration(
        name: "route", events: EventsConfiguration(stream("events")), rules: RulesConfiguration(stream("rules")),
        results: ResultsConfiguration(transport: name, streams: ["http": "results", "https": "results"]),
        deadLetters: stream("dead-letters")),
      transports: [name: WatchedTransport(files, failed)], state: MemoryState(), limits: limits, log: log,
      workers: workers, stopsWhenIdle: true, failsFast: true)
    parts.storesRules = false
    return Pipeline(parts)
  }
}

/// A transport whose sinks tell of an output that cannot be written, instead of leaving it to the engine to try for ever.
private struct WatchedTransport: Transport {
  private let transport: any Transport
  private let failed: @Sendable (TransportError) -> Void

  init(_ transport: any Transport, _ failed: @escaping @Sendable (TransportError) -> Void) {
    self.transport = transport
    self.failed = failed
  }

  func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    try await transport.makeSource(stream, mode)
  }

  func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    WatchedSink(try await transport.makeSink(stream, WatchedPort(completions, failed)), failed)
  }
}

private final class WatchedPort: CompletionPort {
  private let port: any CompletionPort
  private let failed: @Sendable (TransportError) -> Void

  init(_ port: any CompletionPort, _ failed: @escaping @Sendable (TransportError) -> Void) {
    self.port = port
    self.failed = failed
  }

  func complete(_ tokens: Span<UInt64>) { port.complete(tokens) }

  func fail(_ tokens: Span<UInt64>, _ error: TransportError) {
    if error.class == .record { port.fail(tokens, error) } else { failed(error) }
  }
}

private struct WatchedSink: EventSink {
  private let sink: any EventSink
  private let failed: @Sendable (TransportError) -> Void

  init(_ sink: any EventSink, _ failed: @escaping @Sendable (TransportError) -> Void) {
    self.sink = sink
    self.failed = failed
  }

  var capabilities: SinkCapabilities { sink.capabilities }

  func send(_ batch: borrowing DeliveryBatch, from start: Int) throws -> Int {
    do { return try sink.send(batch, from: start) } catch let error as TransportError where error.class == .fatal {
      failed(error)
      return 0
    }
  }

  func writable() async throws {
    do { try await sink.writable() } catch let error as TransportError where error.class == .fatal {
      failed(error)
      // The process is about to end.
      try await SystemClock().sleep(for: .seconds(3600))
    }
  }

  func flush(by deadline: Instant) async throws { try await sink.flush(by: deadline) }
  func close() async { await sink.close() }
}
