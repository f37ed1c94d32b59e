import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

let arguments = CommandLine.arguments.dropFirst()
if arguments.first == ChildProcess.measureOption { exit(try ChildProcess.measure(Array(arguments.dropFirst()))) }
let report = Report(asJSON: arguments.contains("--json"))
let names = arguments.filter { !$0.hasPrefix("--") }
let rounds = 5
let all: [(name: String, run: (Report) async throws -> Void)] = [
  ("route", { try await RouteBenchmark.run($0, rounds: rounds) }),
  ("pipe", { try PipeBenchmark.run($0, rounds: rounds) }),
  ("log", { try await LogBenchmark.run($0, rounds: rounds) }),
  ("table", { try await TableBenchmark.run($0, rounds: rounds) }),
  ("start", { try StartBenchmark.runStart($0, rounds: rounds) }),
  ("memory", { try StartBenchmark.runMemory($0, rounds: rounds) }),
  ("dispatch", { try await DispatchBenchmark.run($0, rounds: rounds) }),
  ("kafka", { try await KafkaBenchmark.run($0, rounds: rounds) }),
]
for name in names where !all.contains(where: { $0.name == name }) {
  print("there is no benchmark \"\(name)\"; there are: \(all.map(\.name).joined(separator: ", "))")
  exit(2)
}
do {
  for (name, run) in all where names.isEmpty || names.contains(name) { try await run(report) }
} catch {
  _ = "databus-bench: \(error)\n".withCString { write(STDERR_FILENO, $0, strlen($0)) }
  exit(1)
}
