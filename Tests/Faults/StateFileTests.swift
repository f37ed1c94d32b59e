import Foundation
import SQLiteClient
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite("A state file that cannot be used")
  struct StateFileTests {
    enum Damage: String, CaseIterable, Sendable {
      case emptied, truncatedToHalf, truncatedInPage, otherFile, zeroedHeader, garbageInside, garbageAtEnd

      func apply(to path: String) throws {
        var bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: path)))
        var random = SeededGenerator(seed: 41)
        switch self {
        case .emptied: bytes = []
        case .truncatedToHalf: bytes = Array(bytes.prefix(bytes.count / 2 / 4096 * 4096))
        case .truncatedInPage: bytes = Array(bytes.prefix(bytes.count - 1000))
        case .otherFile: bytes = Array("This is a letter to my aunt, and no database at all.\n".utf8)
        case .zeroedHeader: for index in 0..<100 { bytes[index] = 0 }
        // Every page but the first: whatever is read of it is wrong.
        case .garbageInside:
          for index in 4096..<bytes.count { bytes[index] = UInt8.random(in: 0...255, using: &random) }
        case .garbageAtEnd: for index in (bytes.count - 4096)..<bytes.count { bytes[index] = 0xA5 }
        }
        try Data(bytes).write(to: URL(fileURLWithPath: path))
      }
    }

    /// A pipeline that has run and left a state.
    private static func used(_ bench: Workbench) async throws -> [SentEvent] {
      try await bench.append(ModelRule.usual)
      let sent = try await bench.append(ModelEvent.some(500, seed: 42))
      try await bench.finish()
      return sent
    }

    /// Starts, and expects a refusal that names the file and says what to do.
    private static func expectRefusal(_ bench: Workbench, saying words: [String]) async throws {
      let process = try bench.start("--until-idle")
      let end = try await process.end(within: .seconds(20))
      #expect(end == .exited(1) || end == .exited(2), "\(end): \(process.errors)")
      let said = process.errors
      #expect(said.contains(bench.statePath), "the file is not named: \(said)")
      for word in words { #expect(said.contains(word), "\"\(word)\" is missing: \(said)") }
    }

    private static func contents(_ path: String) throws -> Data { try Data(contentsOf: URL(fileURLWithPath: path)) }

    @Test(
      "Damaged in any way: the start is refused, the file is named with the remedy, and it is left as it is",
      arguments: Damage.allCases)
    func damaged(_ damage: Damage) async throws {
      try await Workbench.with { bench in
        let sent = try await Self.used(bench)
        let backup = try Self.contents(bench.statePath)
        try damage.apply(to: bench.statePath)
        let broken = try Self.contents(bench.statePath)
        #expect(broken != backup)
        for _ in 0..<2 { try await Self.expectRefusal(bench, saying: ["restore"]) }
        #expect(try Self.contents(bench.statePath) == broken, "the file was changed")
        // Nothing was routed again, and with the file as it was everything goes on.
        try backup.write(to: URL(fileURLWithPath: bench.statePath))
        let more = try await bench.append(ModelEvent.some(500, from: 500, seed: 43))
        try await bench.finish()
        let report = try await bench.check(sent + more, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
        #expect(report.repeats == 0)
      }
    }

    @Test("Damaged by a kill? No: a state file is sound after every SIGKILL")
    func soundAfterKill() async throws {
      try await Workbench.with(.init(checkpointInterval: "10ms")) { bench in
        try await bench.append(ModelRule.usual)
        var sent: [SentEvent] = []
        for round in 0..<3 {
          sent += try await bench.append(ModelEvent.some(8000, from: round * 8000, seed: 44))
          // The first start has a checkpoint of its own, so that even a fast run reaches its second one.
          try await CrashPointTests.crash(bench, "applied-and-not-committed:\(round == 0 ? 2 : 1)")
          let connection = try SQLiteConnection(path: bench.statePath, access: .readOnly)
          #expect(try connection.text("PRAGMA integrity_check") == "ok")
        }
        try await bench.finish()
        let report = try await bench.check(sent, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
      }
    }

    @Test("Of a newer schema: the start is refused, and says what made it and what to do")
    func newerSchema() async throws {
      try await Workbench.with { bench in
        _ = try await Self.used(bench)
        do {
          let connection = try SQLiteConnection(path: bench.statePath, access: .readWrite)
          let version = try #require(try connection.integer("PRAGMA user_version"))
          try connection.execute("PRAGMA user_version = \(version + 1)")
        }
        try await Self.expectRefusal(bench, saying: ["newer"])
      }
    }

    @Test("Gone, with its log beside it: the start is refused")
    func missingWithLog() async throws {
      try await Workbench.with(.init(checkpointInterval: "10ms")) { bench in
        try await bench.append(ModelRule.usual)
        _ = try await bench.append(ModelEvent.some(2000, seed: 45))
        // The checkpoint at the start and the one that finds everything ended: there are always two.
        try await CrashPointTests.crash(bench, "applied-and-not-committed:2")
        #expect(FileManager.default.fileExists(atPath: bench.statePath + "-wal"))
        try FileManager.default.removeItem(atPath: bench.statePath)
        try await Self.expectRefusal(bench, saying: ["-wal"])
        #expect(!FileManager.default.fileExists(atPath: bench.statePath))
      }
    }

    @Test("A second process on one state file ends at once and names the first one's process id")
    func secondProcess() async throws {
      try await Workbench.with { bench in
        try await bench.append(ModelRule.usual)
        let sent = try await bench.append(ModelEvent.some(500, seed: 46))
        let first = try bench.start()
        try await first.wait("its first commit") { try await bench.committed() == 501 }
        let start = ContinuousClock.now
        try await Self.expectRefusal(bench, saying: ["\(first.id)", "in use"])
        #expect(start.duration(to: .now) < .seconds(5))
        // The first one is unharmed.
        let more = try await bench.append(ModelEvent.some(500, from: 500, seed: 47))
        try await first.wait("what came later") { try await bench.committed() == 1001 }
        first.signal(SIGTERM)
        #expect(try await first.end() == .exited(0))
        let report = try await bench.check(sent + more, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
        #expect(report.repeats == 0)
      }
    }
  }
}
