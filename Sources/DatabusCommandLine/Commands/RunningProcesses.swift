import DatabusCore
import Dispatcher

/// Keeps what must not be done beside a running process from being done.
enum RunningProcesses {
  /// Returns once nobody runs the pipeline, as far as its state shows. A process that was killed cannot say so: it counts as
  /// running until it has said nothing for 5 seconds, which is waited for.
  ///
  /// - Parameters:
  ///   - areDispatchers: it is the pipeline's dispatchers that must not run.
  ///   - consequence: the end of the sentence: "its positions cannot be set".
  /// - Throws: `CommandFailure` where a process runs.
  static func refuse(
    _ configuration: DatabusConfiguration, _ context: CommandContext, areDispatchers: Bool = false,
    _ consequence: String
  ) async throws {
    let clock = SystemClock()
    var progress = ProgressLine(context.errors)
    var first: [String: Int64] = [:]
    _ = try await PipelineAccess.poll(configuration, context.registry, until: clock.now() + .seconds(10)) {
      access -> Bool? in
      let state = areDispatchers ? ResultDispatcher.state(in: access.state) : access.state
      let session = try await state.open(.pipeline)
      let alive = try await Presence.all(session).filter { $0.isAlive(at: clock.wallMilliseconds()) }
      await session.close()
      for process in alive {
        let name = "process \(process.processID) on \(process.host)"
        let known = first[name]
        first[name] = known ?? process.at
        // It has spoken since: it is not one that has just ended.
        guard let known, known < process.at else { continue }
        try progress.clear()
        throw CommandFailure(
          .failed, "\(name) \(areDispatchers ? "delivers for" : "runs") this pipeline: \(consequence)",
          hint: "stop it first (kill -TERM \(process.processID))"
        )
      }
      if alive.isEmpty { return true }
      try progress.update("waiting whether \(first.keys.sorted().joined(separator: ", ")) still runs")
      return nil
    }
    try progress.clear()
  }
}

extension PipelineStatus {
  /// The partition of this number.
  ///
  /// - Throws: `CommandFailure` where there is none.
  static func partition(
    _ index: Int, of stream: String, among partitions: [Partition]
  ) throws(CommandFailure) -> Partition {
    if let entry = partitions.first(where: { $0.partition.index == index }) { return entry }
    let all = partitions.map { String($0.partition.index) }.joined(separator: ", ")
    throw CommandFailure(
      .usage, "\(stream) has no partition \(index)",
      hint: partitions.isEmpty ? "it has not come into being yet" : "there are: \(all)")
  }
}
