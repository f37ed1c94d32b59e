import CSystem
import DatabusCore

/// `databus route` as people use it: a million events from and to files in memory.
enum PipeBenchmark {
  static let events = 1_000_000

  static func run(_ report: Report, rounds: Int) throws {
    let databus = try ChildProcess.databus()
    let folder = try ScratchFolder()
    defer { folder.remove() }
    var text = ""
    text.reserveCapacity(events * 180)
    for number in 0..<events { text += SampleEvents.event(type: number % 4, user: number) + "\n" }
    let input = try folder.write("events.jsonl", text)
    let few = try folder.write(
      "few.jsonl", (0..<50_000).map { SampleEvents.event(type: $0 % 4, user: $0) + "\n" }.joined())
    let rules = try folder.write("rules.jsonl", (0..<4).map { SampleEvents.rule($0) + "\n" }.joined())
    text = ""
    let output = "\(folder.path)/results.jsonl"
    let command = [databus, "route", "--rules", rules]
    var one: [Double] = []
    var oneWall: [Double] = []
    var two: [Double] = []
    var parsed: [Double] = []
    var jq: [Double] = []
    for _ in 0..<rounds {
      _ = databus_use_processors(1)
      parsed.append(RouteBenchmark.parse())
      let alone = try ChildProcess.run(command + ["--workers", "1"], input: input, output: output)
      one.append(alone.processorSeconds * 1e9 / Double(events))
      oneWall.append(alone.wallSeconds)
      if let program = ChildProcess.find("jq") {
        let filter =
          "if .type | startswith(\"user:event\") then {destination: \"https://foo.bar/baz\", payload: .} else empty end"
        jq.append(
          try ChildProcess.run([program, "-c", filter], input: few, output: output).processorSeconds * 1e9 / 50_000)
      }
      _ = databus_use_processors(2)
      two.append(try ChildProcess.run(command + ["--workers", "2"], input: input, output: output).wallSeconds)
    }
    let event = Statistics.median(one)
    report.add(
      Figure(
        benchmark: "pipe, one core, user and system time", value: event, unit: "ns/event", reference: "ns, one parse",
        referenceValue: Statistics.median(parsed), goal: "<= 5"))
    if jq.isEmpty {
      if !report.asJSON { print("pipe, next to jq: jq is not installed") }
    } else {
      report.add(
        Figure(
          benchmark: "pipe, one core, next to jq", value: event, unit: "ns/event", reference: "ns/event, jq",
          referenceValue: Statistics.median(jq), goal: "-"))
    }
    report.add(
      Figure(
        benchmark: "pipe, two cores", value: Double(events) / Statistics.median(two) / 1e6, unit: "M events/s",
        reference: "M events/s, one core", referenceValue: Double(events) / Statistics.median(oneWall) / 1e6,
        goal: ">= 1.4"))
  }
}
