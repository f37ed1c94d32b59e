import DatabusCore
import Foundation
import Spool
import Testing

/// The programs of this package, run as a person would.
@Suite struct ProgramTests {
  private let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  /// Programs are built beside the tests.
  private func program(_ name: String) throws -> String {
    let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    return URL(fileURLWithPath: tests).deletingLastPathComponent().appendingPathComponent(name).path
  }

  private func run(_ program: String, _ arguments: String...) throws -> (code: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [program] + arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: output, as: UTF8.self))
  }

  /// The package's configuration file, copied to where its data may lie.
  private func configuration(_ name: String = "databus.json") throws -> String {
    let package = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let copy = "\(folder.path)/\(name)"
    if !FileManager.default.fileExists(atPath: copy) {
      try FileManager.default.copyItem(atPath: package.appendingPathComponent(name).path, toPath: copy)
    }
    return copy
  }

  @Test func theProgramKnowsTheTransportAndTheStateByTheirNames() throws {
    let databus = try program("spool-databus")
    let (code, output) = try run(databus, "validate", "--config", configuration())
    #expect(code == 0, "\(output)")

    let text = try String(contentsOfFile: configuration(), encoding: .utf8)
    let wrong = "\(folder.path)/wrong.json"
    try text.replacingOccurrences(of: "\"path\": \"data\"", with: "\"pathe\": \"data\"")
      .write(toFile: wrong, atomically: true, encoding: .utf8)
    let refused = try run(databus, "validate", "--config", wrong)
    #expect(refused.code == 2)
    #expect(refused.output.contains("did you mean \"path\"?"), "\(refused.output)")
  }

  @Test func aPipelineRunsOverBothAndGoesOnWhereItStopped() async throws {
    let databus = try program("spool-databus")
    let spool = SpoolTransport(path: "\(folder.path)/data")
    func append(_ text: String, to stream: String) throws { try spool.append(Array(text.utf8), to: stream) }
    func results() throws -> [String] {
      let path = "\(folder.path)/data/results"
      return try FileManager.default.contentsOfDirectory(atPath: path).filter { UInt64($0) != nil }.sorted()
        .map { try String(contentsOfFile: "\(path)/\($0)", encoding: .utf8) }
    }
    try append(
      #"{"ruleId": "r", "events": ["user:*"], "destinationUrl": "https://foo.bar/baz", "transforms": [], "filters": []}"#,
      to: "rules")
    try append(#"{"type": "user:signup", "data": {"userId": 123}}"#, to: "events")
    try append(#"{"type": "other"}"#, to: "events")
    let first = try run(databus, "run", "--config", configuration(), "--until-idle")
    #expect(first.code == 0, "\(first.output)")
    let start =
      #"{"destination":"https://foo.bar/baz","payload":{"type": "user:signup", "data": {"userId": 123}},"id":""#
    #expect(try results().count == 1)
    #expect(try results().first?.hasPrefix(start) == true)

    // The rule and the positions come from the state; only the new event is routed.
    try append(#"{"type": "user:login"}"#, to: "events")
    let second = try run(databus, "run", "--config", configuration(), "--until-idle")
    #expect(second.code == 0, "\(second.output)")
    #expect(try results().count == 2)
    #expect(try results().last?.contains(#""payload":{"type": "user:login"}"#) == true)
  }

  @Test func aRuleDeliversThroughTheChannelOfThisPackage() async throws {
    let databus = try program("spool-databus")
    let file = try configuration("dispatch.json")
    let spool = SpoolTransport(path: "\(folder.path)/data")
    func append(_ text: String, to stream: String) throws { try spool.append(Array(text.utf8), to: stream) }
    let inbox = "\(folder.path)/inboxes/orders"
    try FileManager.default.createDirectory(atPath: inbox, withIntermediateDirectories: true)
    try append(
      #"{"ruleId": "r", "events": ["order:*"], "destinationUrl": "drop://orders", "transforms": [], "filters": []}"#,
      to: "rules")
    try append(#"{"type": "order:new", "data": {"number": 7}}"#, to: "events")
    let (code, output) = try run(databus, "run", "--with-dispatcher", "--config", file, "--until-idle")
    #expect(code == 0, "\(output)")
    let names = try FileManager.default.contentsOfDirectory(atPath: inbox)
    #expect(names.count == 1, "\(output)")
    let name = try #require(names.first)
    #expect(
      try String(contentsOfFile: "\(inbox)/\(name)", encoding: .utf8)
        == #"{"type": "order:new", "data": {"number": 7}}"#)

    let told = try run(databus, "deliveries", "show", name, "--config", file)
    #expect(
      told.code == 0 && told.output.contains("drop://orders") && told.output.contains("written"), "\(told.output)")
  }

  @Test func aProgramOverTheCoreAndMemoryNeedsNoClientLibrary() throws {
    let minimal = try program("minimal-pipeline")
    let (code, output) = try run(minimal)
    #expect(code == 0 && output.hasPrefix(#"{"destination":"https://foo.bar/baz","#), "\(output)")

    let clients = ["sqlite3", "rdkafka", "hiredis", "curl", "microhttpd"]
    func needed(_ program: String) throws -> [String] {
      let (code, output) = try run("ldd", program)
      #expect(code == 0 && output.contains("libcrypto"), "\(output)")
      return clients.filter { output.contains("lib\($0)") }
    }
    #expect(try needed(minimal) == [])
    // The look is able to see one.
    #expect(try needed(program("spool-databus")).contains("sqlite3"))
  }
}
