import DatabusCore

/// From exec to the first result, and the most memory a run takes.
enum StartBenchmark {
  static func runStart(_ report: Report, rounds: Int) throws {
    let databus = try ChildProcess.databus()
    let folder = try ScratchFolder()
    defer { folder.remove() }
    let rules = try folder.write("rules.jsonl", (0..<4).map { SampleEvents.rule($0) + "\n" }.joined())
    let event = try folder.write("event.jsonl", SampleEvents.event(type: 1, user: 1) + "\n")
    var whole: [Double] = []
    var bare: [Double] = []
    for _ in 0..<rounds * 3 {
      let run = try ChildProcess.run([databus, "route", "--rules", rules, event], output: "\(folder.path)/out")
      whole.append(run.wallSeconds * 1000)
      bare.append(try ChildProcess.run([databus, "version"]).wallSeconds * 1000)
    }
    report.add(
      Figure(
        benchmark: "start, exec to the only result and exit", value: Statistics.median(whole), unit: "ms",
        reference: "ms, `databus version`", referenceValue: Statistics.median(bare), goal: "<= 50 ms"))
  }

  static func runMemory(_ report: Report, rounds: Int) throws {
    let databus = try ChildProcess.databus()
    let folder = try ScratchFolder()
    defer { folder.remove() }
    let bare = try ChildProcess.run([databus, "version"]).peakBytes
    for count in [4, 100_000] {
      let rules = try folder.write("rules.jsonl", (0..<count).map { SampleEvents.rule($0) + "\n" }.joined())
      let events = try folder.write(
        "events.jsonl", (0..<300_000).map { SampleEvents.event(type: $0 &* 7919 % count, user: $0) + "\n" }.joined())
      var peaks: [Double] = []
      for _ in 0..<rounds {
        let run = try ChildProcess.run([databus, "route", "--rules", rules, events], output: "\(folder.path)/out")
        peaks.append(Double(run.peakBytes) / 1e6)
      }
      report.add(
        Figure(
          benchmark: "memory, peak with \(count) rules", value: Statistics.median(peaks), unit: "MB",
          reference: "MB, `databus version`", referenceValue: Double(bare) / 1e6,
          goal: count == 4 ? "<= 25 MB" : "<= 100 MB"))
    }
  }
}
