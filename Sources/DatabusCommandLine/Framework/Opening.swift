import DatabusCore
import Dispatcher

#if canImport(Glibc)
  import Glibc
#endif

/// Opens what a process runs on, and tries again without limit while a part of it is away.
enum Opening {
  /// - Throws: what no retry helps against, or everything where `failsFast`; `CancellationError` where it was told to stop.
  static func retrying<R>(
    _ part: String, _ log: Logger, _ health: HealthBoard, failsFast: Bool, _ open: () async throws -> R
  ) async throws -> R {
    var pause = Duration.milliseconds(100)
    var told = ""
    while true {
      let message: String
      do {
        return try await open()
      } catch let error as TransportError where error.class == .transport && !failsFast {
        message = error.message
      } catch StateError.unavailable(let reason) where !failsFast {
        message = reason
      } catch DeduplicationError.unavailable(let reason) where !failsFast {
        message = reason
      }
      health.tell(Health(reasons: [.init(part: "start", message: message)]), of: part, at: SystemClock().now())
      if message != told {
        log.error(message, at: "start", remedy: "it is tried again without limit")
        told = message
      }
      try await SystemClock().sleep(for: pause)
      pause = min(pause * 2, .seconds(5))
    }
  }
}

/// Stops what may not be there yet.
actor StopOnSignal {
  private var stops: [@Sendable () -> Void] = []
  private var isStopped = false

  /// Called at a signal, or at once where there was one.
  func add(_ stop: @escaping @Sendable () -> Void) {
    if isStopped { stop() } else { stops.append(stop) }
  }

  func stop() {
    isStopped = true
    for stop in stops { stop() }
  }

  /// Waits for signals, tells of each, and stops.
  nonisolated func watch(_ context: CommandContext, _ log: Logger, _ cancel: @escaping @Sendable () -> Void)
    -> Task<Void, Never>
  {
    Task {
      for await signal in context.signals.stream {
        log.info("\(signal == SIGINT ? "SIGINT" : "SIGTERM"): draining", remedy: "a second signal ends at once")
        cancel()
        await self.stop()
      }
    }
  }
}
