import DatabusCore
import HTTPServer
import RedisServerFixture
import SQLiteLogTransport
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// The dispatcher between a log and a receiver on this machine, with deduplication in a real Redis; next to a bare libcurl loop.
enum DispatchBenchmark {
  private static let deliveries = 200_000
  /// Attempts at a time, of both.
  private static let concurrency = 64

  static func run(_ report: Report, rounds: Int) async throws {
    guard ChildProcess.find("redis-server") != nil else {
      if !report.asJSON { print("dispatch: redis-server is not installed") }
      return
    }
    let bench = try await Bench()
    defer { bench.folder.remove() }
    try await throughput(bench, report, max(3, rounds - 2))
    try await latency(bench, report)
    try await memory(bench, report)
    await bench.log.close()
  }

  // MARK: Much to do

  private static func throughput(_ bench: Bench, _ report: Report, _ rounds: Int) async throws {
    let receiver = try bench.startReceiver()
    defer { receiver.stop() }
    let url = "http://127.0.0.1:\(receiver.port)/hook"
    let body = SampleEvents.event(type: 1, user: 1)
    let curl = try ChildProcess.beside("curl-loop")
    var bare: [ChildProcess.Usage] = []
    var withHeaders: [ChildProcess.Usage] = []
    var whole: [ChildProcess.Usage] = []
    for round in 0..<rounds {
      let loop = [curl, url, "\(deliveries)", "\(concurrency)", "\(body.utf8.count)"]
      bare.append(try ChildProcess.run(bench.onOneCore(loop)))
      withHeaders.append(
        try ChildProcess.run(
          bench.onOneCore(
            loop + ["webhook-id: backlog-123456", "webhook-timestamp: 1700000000", "User-Agent: databus/0.1"])))
      // A stream of its own: what one round had put into retry streams, the next would send as well.
      let stream = "backlog\(round)"
      try await bench.fill(stream, deliveries) { _ in url }
      let file = try bench.configuration("throughput\(round)", results: stream, concurrency: concurrency)
      whole.append(
        try ChildProcess.run(
          bench.onOneCore([
            try ChildProcess.databus(), "dispatch", "--config", file, "--until-idle", "--log-level", "error",
          ])))
    }
    func processor(_ all: [ChildProcess.Usage]) -> Double {
      Statistics.median(all.map(\.processorSeconds)) * 1e6 / Double(deliveries)
    }
    func rate(_ all: [ChildProcess.Usage]) -> Double { Double(deliveries) / Statistics.median(all.map(\.wallSeconds)) }
    report.add(
      Figure(
        benchmark: "dispatch, CPU per delivery, one core", value: processor(whole), unit: "us",
        reference: "us, a bare libcurl loop", referenceValue: processor(bare), goal: "<= 2"))
    report.add(
      Figure(
        benchmark: "dispatch, CPU per delivery, one core", value: processor(whole), unit: "us",
        reference: "us, the loop with a webhook's headers", referenceValue: processor(withHeaders), goal: ""))
    report.add(
      Figure(
        benchmark: "dispatch, deliveries/s, one core", value: rate(whole), unit: "/s",
        reference: "/s, a bare libcurl loop", referenceValue: rate(bare), goal: ">= 20000/s"))
  }

  // MARK: Little to do

  private static func latency(_ bench: Bench, _ report: Report) async throws {
    let healthy = try await latencies(bench, "healthy", hanging: false)
    let beside = try await latencies(bench, "beside", hanging: true)
    func share(_ all: [Double], _ part: Double) -> Double { all[min(all.count - 1, Int(Double(all.count) * part))] }
    report.add(
      Figure(
        benchmark: "dispatch, added latency at 1,000/s, p99", value: share(healthy, 0.99), unit: "ms",
        reference: "ms, p50", referenceValue: share(healthy, 0.5), goal: "<= 20 ms"))
    report.add(
      Figure(
        benchmark: "dispatch, p99 of 99 beside one that hangs", value: share(beside, 0.99), unit: "ms",
        reference: "ms, none hangs", referenceValue: share(healthy, 0.99), goal: "<= 1.2"))
  }

  /// From the append of a result to its arrival at the receiver, in milliseconds, sorted; those that hang left out.
  private static func latencies(_ bench: Bench, _ name: String, hanging: Bool) async throws -> [Double] {
    let count = 10_000
    let clock = SystemClock()
    let receiver = try ArrivalReceiver(clock)
    let file = try bench.configuration(name, results: name, concurrency: 16)
    try await bench.log.createTopic(name, partitions: 1)
    let dispatcher = try ChildProcess.start([
      try ChildProcess.databus(), "dispatch", "--config", file, "--log-level", "error",
    ])
    defer {
      kill(dispatcher, SIGKILL)
      _ = try? ChildProcess.wait(dispatcher)
    }
    let url = "http://127.0.0.1:\(receiver.server.port)"
    // The first ones open connections.
    try await bench.append(
      name, (0..<200).map { "{\"destination\":\"\(url)/d\($0 % 100)\",\"payload\":{},\"id\":\"warm-\($0)\"}" })
    try await receiver.wait(for: 200)
    var sent: [Instant] = []
    let start = clock.now()
    while sent.count < count {
      let due = min(count, Int((clock.now() - start).fractionalSeconds * 1000) + 1)
      var batch: [String] = []
      let now = clock.now()
      while sent.count < due {
        let number = sent.count
        let path = hanging && number % 100 == 0 ? "hang" : "d\(number % 100)"
        batch.append(bench.result("\(url)/\(path)", id: "\(number)"))
        sent.append(now)
      }
      if !batch.isEmpty { try await bench.append(name, batch) }
      try await clock.sleep(for: .milliseconds(1))
    }
    let expected = hanging ? count - count / 100 : count
    try await receiver.wait(for: 200 + expected)
    let times = receiver.arrivals.compactMap { id, at -> Double? in
      guard let number = Int(id), number < sent.count else { return nil }
      return (at - sent[number]).fractionalSeconds * 1000
    }
    await receiver.server.stop()
    return times.sorted()
  }

  // MARK: Memory

  private static func memory(_ bench: Bench, _ report: Report) async throws {
    let receiver = try bench.startReceiver()
    defer { receiver.stop() }
    let url = "http://127.0.0.1:\(receiver.port)"
    let bare = try ChildProcess.run([try ChildProcess.databus(), "version"]).peakBytes
    try await bench.fill("queued", 100_000) { "\(url)/d\($0 % 100)?hang=60s" }
    let queued = try await peak(bench, "queued", until: 100_000)
    report.add(
      Figure(
        benchmark: "dispatch, memory, 100,000 queued", value: queued, unit: "MB", reference: "MB, `databus version`",
        referenceValue: Double(bare) / 1e6, goal: "<= 200 MB"))
    try await bench.fill("many", 10_000) { "\(url)/d\($0)" }
    let file = try bench.configuration("many", results: "many", concurrency: 16)
    let run = try ChildProcess.run([
      try ChildProcess.databus(), "dispatch", "--config", file, "--until-idle", "--log-level", "error",
    ])
    report.add(
      Figure(
        benchmark: "dispatch, memory, 10,000 destinations", value: Double(run.peakBytes) / 1e6, unit: "MB",
        reference: "MB, `databus version`", referenceValue: Double(bare) / 1e6, goal: "<= 100 MB"))
  }

  /// The peak of a dispatcher's memory once it holds all of a stream, whose destinations do not answer.
  private static func peak(_ bench: Bench, _ results: String, until count: Int) async throws -> Double {
    let file = try bench.configuration(results, results: results, concurrency: 16)
    let dispatcher = try ChildProcess.start([
      try ChildProcess.databus(), "dispatch", "--config", file, "--log-level", "error",
    ])
    defer {
      kill(dispatcher, SIGKILL)
      _ = try? ChildProcess.wait(dispatcher)
    }
    let clock = SystemClock()
    let deadline = clock.now() + .seconds(20)
    while clock.now() < deadline {
      if try await bench.inMemory() >= count * 99 / 100 { break }
      try await clock.sleep(for: .milliseconds(200))
    }
    let held = try await bench.inMemory()
    guard held >= count * 99 / 100 else {
      throw ChildProcess.Failure(description: "only \(held) of \(count) deliveries came to be in memory")
    }
    return try ChildProcess.peakMegabytes(dispatcher)
  }
}
