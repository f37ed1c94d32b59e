import DatabusCore
import Dispatcher

/// Puts dead letters back into the streams that they came from.
struct DeadLetterReplay {
  let stream: DeadLetterStream
  let selection: DeadLetterSelection
  /// By name: of the dead letters and of the streams they go back to.
  let transports: [String: any Transport]
  /// nil: the dead letters are the pipeline's, whose records no store knows.
  let store: (any DeduplicationStore)?
  /// How long the store remembers what has arrived; nil where there is no dispatcher.
  let memory: Duration?
  let limit: Int
  /// Records a second.
  let rate: Int?
  let isDry: Bool
  let isForced: Bool
  let output: Output
  let errors: Output

  /// Why one is not put back.
  private enum Obstacle: Hashable {
    // Nothing is wrong.
    case superseded, arrived, underWay
    // It was meant, and cannot be.
    case cut, empty
    case foreign(String)
    case old, unnamed
    case failed(String)

    var isFault: Bool {
      switch self {
      case .superseded, .arrived, .underWay: false
      case .cut, .empty, .foreign, .old, .unnamed, .failed: true
      }
    }
  }

  private struct Sum {
    var replayed = 0
    var obstacles: [Obstacle: (count: Int, first: String)] = [:]

    mutating func add(_ obstacle: Obstacle, _ locator: String) {
      obstacles[obstacle, default: (0, locator)].count += 1
    }
  }

  /// So many are asked of the store, and written, at a time.
  private static let chunk = 500

  /// Puts back what was selected, and closes the transports whatever comes of it.
  ///
  /// - Returns: `failed` where something that was meant could not be put back.
  func runAndClose() async throws -> ExitCode {
    do {
      let code = try await run()
      for transport in transports.values { await transport.close() }
      return code
    } catch {
      for transport in transports.values { await transport.close() }
      throw error
    }
  }

  private func run() async throws -> ExitCode {
    guard let transport = transports[stream.reference.transport] else {
      throw CommandFailure(.failed, "the transport \"\(stream.reference.transport)\" was not opened")
    }
    var reader = try ResultReader()
    // Of a delivery that was given up several times, only the latest is put back: it was replayed in between.
    var latest: [DeliveryID: Int] = [:]
    if stream.isDispatchers {
      try await stream.read(transport) { entry in
        if let id = entry.letter.deliveryID(&reader) { latest[id] = max(latest[id] ?? 0, entry.letter.replays) }
        return true
      }
    }
    let writers = ReplayWriters(transports, rate: rate)
    var sum = Sum()
    var chunk: [(found: FoundDeadLetter, id: DeliveryID?)] = []
    var progress = ProgressLine(errors)
    do {
      try await stream.read(transport, since: selection.since) { entry in
        guard selection.matches(entry) else { return true }
        let id = stream.isDispatchers ? entry.letter.deliveryID(&reader) : nil
        if let id, entry.letter.replays < latest[id] ?? 0 {
          sum.add(.superseded, entry.locator)
          return true
        }
        chunk.append((entry, id))
        // A second one in the same state is the same delivery: the store collapses them.
        if chunk.count >= min(DeadLetterReplay.chunk, limit - sum.replayed) {
          try await putBack(chunk, writers, &sum)
          chunk = []
          try progress.update("\(sum.replayed) put back")
        }
        return sum.replayed < limit
      }
      if sum.replayed < limit { try await putBack(chunk, writers, &sum) }
      try progress.clear()
    } catch {
      try? progress.clear()
      await writers.close()
      throw CommandFailure(
        .failed, "\(sum.replayed) put back, then: \(error)",
        hint: "the same call goes on: what was put back is not sent twice")
    }
    await writers.close()
    try tell(sum)
    return sum.obstacles.keys.contains(where: \.isFault) ? .failed : .done
  }

  private func putBack(
    _ chunk: [(found: FoundDeadLetter, id: DeliveryID?)], _ writers: ReplayWriters, _ sum: inout Sum
  ) async throws {
    if chunk.isEmpty { return }
    var states: [DeduplicationState?] = Array(repeating: nil, count: chunk.count)
    if let store {
      let ids = chunk.compactMap(\.id)
      var answers = try await store.states(of: ids).makeIterator()
      for index in chunk.indices where chunk[index].id != nil { states[index] = answers.next() ?? nil }
    }
    let now = SystemClock().wallMilliseconds()
    for (entry, state) in zip(chunk, states) {
      if sum.replayed >= limit { return }
      let letter = entry.found.letter
      if let obstacle = obstacle(letter, entry.id, state, now) {
        sum.add(obstacle, entry.found.locator)
        continue
      }
      guard let stream = letter.stream, let target = self.stream.origins[stream] else { continue }
      sum.replayed += 1
      if isDry { continue }
      let headers =
        self.stream.isDispatchers
        ? letter.headers(forReplay: max(letter.replays, state?.replays ?? 0) + 1) : letter.headers
      try await writers.write(letter, headers, to: target)
    }
    for (error, count) in try await writers.confirm() {
      sum.replayed -= count
      for _ in 0..<count { sum.add(.failed(error), "a record") }
    }
  }

  private func obstacle(
    _ letter: DeadLetter, _ id: DeliveryID?, _ state: DeduplicationState?, _ now: Int64
  ) -> Obstacle? {
    if letter.length != nil { return .cut }
    if letter.value == nil { return .empty }
    guard let name = letter.stream, stream.origins[name] != nil else { return .foreign(letter.stream ?? "?") }
    if stream.isDispatchers, id == nil { return .unnamed }
    if isForced { return nil }
    if let state {
      if state.state == .done { return .arrived }
      if state.replays > letter.replays, state.state != .dead { return .underWay }
      return nil
    }
    if let memory, now - letter.time > memory.storedMilliseconds { return .old }
    return nil
  }

  // MARK: The sum

  private func tell(_ sum: Sum) throws {
    let letters = sum.replayed == 1 ? "1 dead letter" : "\(sum.replayed) dead letters"
    try output.write(isDry ? "\(letters) would be put back\n" : "\(letters) put back\n")
    let lines = sum.obstacles.map { obstacle, found in
      "\(found.count) not put back: \(sentence(obstacle)) (the first: \(found.first))"
    }
    for line in lines.sorted() { try output.write(Terminal.printable(line) + "\n") }
  }

  private func sentence(_ obstacle: Obstacle) -> String {
    switch obstacle {
    case .superseded: "replayed before, and given up again: a later dead letter is the one that counts"
    case .arrived: "arrived meanwhile; --force sends it once more"
    case .underWay: "put back before, and under way"
    case .cut:
      "only the beginning of the value was kept, because the stream refused the whole; have its producer send it again"
    case .empty: "there is no value: the records were gone"
    case .foreign(let name): "it came from \(name), which this configuration does not read"
    case .old:
      "older than deduplication.ttl (\(Quantity.text(memory ?? .zero))) and forgotten: whether it arrived since is not known; --force sends it"
    case .unnamed: "it says no delivery id"
    case .failed(let message): "the stream did not take it: \(message)"
    }
  }
}

/// Writes records back at a rate.
private final class ReplayWriters {
  private let transports: [String: any Transport]
  private let rate: Int?
  private let clock = SystemClock()
  private var writers: [StreamReference: StreamWriter] = [:]
  private var begun: Instant?
  private var count = 0

  init(_ transports: [String: any Transport], rate: Int?) {
    self.transports = transports
    self.rate = rate
  }

  func write(_ letter: DeadLetter, _ headers: [Header], to stream: StreamReference) async throws {
    let writer = try await writer(stream)
    if let rate {
      let begun = begun ?? clock.now()
      self.begun = begun
      let due = begun + .nanoseconds(Int64(count) * 1_000_000_000 / Int64(rate))
      if due > clock.now() {
        try await writer.send()
        try await clock.sleep(for: due - clock.now())
      }
    }
    count += 1
    let now = clock.wallMilliseconds()
    try await writer.append { batch, token in
      batch.append(key: letter.key, value: letter.value, headers: headers, timestamp: now, token: token)
    }
  }

  private func writer(_ stream: StreamReference) async throws -> StreamWriter {
    if let writer = writers[stream] { return writer }
    guard let transport = transports[stream.transport] else {
      throw CommandFailure(.failed, "the transport \"\(stream.transport)\" was not opened")
    }
    let writer = try await StreamWriter(transport, stream.stream)
    writers[stream] = writer
    return writer
  }

  /// Returns once all are safe or refused.
  ///
  /// - Returns: why some were refused, and how many.
  func confirm() async throws -> [String: Int] {
    var failures: [String: Int] = [:]
    for writer in writers.values {
      try await writer.confirm()
      for failure in writer.takeFailures() { failures[failure.error.message, default: 0] += 1 }
    }
    return failures
  }

  func close() async {
    for writer in writers.values { await writer.close() }
    writers = [:]
  }
}
