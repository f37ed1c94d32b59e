import DatabusCore
import DatabusTestKit
import Foundation
import SQLiteState
import Testing

@Suite struct ConformanceTests {
  @Test(arguments: StateSuite.cases)
  func conforms(_ one: ConformanceCase<StateUnderTest>) async {
    let state = StateUnderTest("sqlite") { try await subject() }
    #expect(await one.run(state) == .passed)
  }

  private func subject() async throws -> StateSubject {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("databus-state-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    let backend = try await SQLiteState(path: "\(path)/state.db", pipeline: "p")
    var subject = StateSubject(backend: backend)
    subject.reopenAfterKill = {
      // What a killed process leaves: the database and its write-ahead log as they are, and a lock that the system took away.
      let copy = "\(path)/after"
      try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
      for name in ["state.db", "state.db-wal"] where FileManager.default.fileExists(atPath: "\(path)/\(name)") {
        try FileManager.default.copyItem(atPath: "\(path)/\(name)", toPath: "\(copy)/\(name)")
      }
      return try await SQLiteState(path: "\(copy)/state.db", pipeline: "p")
    }
    subject.tearDown = {
      await backend.close()
      try? FileManager.default.removeItem(atPath: path)
    }
    return subject
  }
}
