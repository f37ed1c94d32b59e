import DatabusCore
import DatabusTestKit
import Drop
import Foundation
import Spool
import Testing

/// A folder that is removed with its last reference.
final class TemporaryFolder: Sendable {
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("spool-\(UUID().uuidString)").path

  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(atPath: path) }
}

/// What a spool cannot do. Anything else that is skipped, or one of these that is not, fails the test.
private let skipped: Set = [
  "keys", "headers", "a tombstone is a record without value", "a commit is found again with its metadata",
  "a commit of another generation is refused", "a position reset by an operator is found without metadata",
  "revoked with work in flight: commits count until the release", "a lost assignment can commit nothing",
  "positions without records are passed", "an added partition is listed and delivered from its beginning",
]

/// A file is written or it is not: nothing hangs.
private let skippedOfDeliveries: Set = [
  "an attempt that hangs ends by its deadline", "a destination that hangs keeps no other waiting",
]

@Suite struct ConformanceTests {
  @Test(arguments: DeliverySuite.cases)
  func theChannelConforms(_ one: ConformanceCase<ChannelUnderTest>) async {
    let drop = ChannelUnderTest("drop") {
      let folder = try TemporaryFolder()
      try FileManager.default.createDirectory(atPath: "\(folder.path)/here", withIntermediateDirectories: true)
      var subject = ChannelSubject(
        channel: DropChannel(path: folder.path), destination: "drop://here",
        refused: [
          "drop:", "drop://", "drop://here/x", "drop://../here", "drop://a.b", "drop://here?x", "drop://here:1",
        ]
      ) {
        let inbox = "\(folder.path)/here"
        return try FileManager.default.contentsOfDirectory(atPath: inbox).map { name in
          ReceivedDelivery(id: name, bytes: [UInt8](try Data(contentsOf: URL(fileURLWithPath: "\(inbox)/\(name)"))))
        }
      }
      subject.unreachable = "drop://gone"
      return subject
    }
    let outcome = await one.run(drop)
    var isSkipped = false
    if case .skipped = outcome { isSkipped = true }
    #expect(outcome.violations == [])
    #expect(isSkipped == skippedOfDeliveries.contains(one.name), "\(outcome)")
  }

  @Test(arguments: TransportSuite.cases)
  func theTransportConforms(_ one: ConformanceCase<TransportUnderTest>) async {
    var spool = TransportUnderTest("spool") { _ in
      let folder = try TemporaryFolder()
      let transport = SpoolTransport(path: folder.path)
      try await transport.createTopic("events", partitions: 1)
      var subject = TransportSubject(transport: transport, stream: "events") { _, record in
        try transport.append(record.value ?? [], to: "events")
      }
      subject.restart = { SpoolTransport(path: folder.path) }
      subject.recreate = {
        try await transport.deleteTopic("events")
        try await transport.createTopic("events", partitions: 1)
      }
      subject.truncate = { _, before in
        for name in try FileManager.default.contentsOfDirectory(atPath: "\(folder.path)/events") {
          guard let number = UInt64(name), number < before else { continue }
          try FileManager.default.removeItem(atPath: "\(folder.path)/events/\(name)")
        }
      }
      return subject
    }
    spool.maximumPartitions = 1
    let outcome = await one.run(spool)
    var isSkipped = false
    if case .skipped = outcome { isSkipped = true }
    #expect(outcome.violations == [])
    #expect(isSkipped == skipped.contains(one.name), "\(outcome)")
  }

  @Test(arguments: StateSuite.cases)
  func theStateBackendConforms(_ one: ConformanceCase<StateUnderTest>) async {
    var state = StateUnderTest("folder") {
      let folder = try TemporaryFolder()
      var subject = StateSubject(backend: try FolderState(path: "\(folder.path)/before", pipeline: "p"))
      subject.reopenAfterKill = {
        // What a killed process leaves behind: its files, and a lock that the system has taken back.
        try FileManager.default.copyItem(atPath: "\(folder.path)/before", toPath: "\(folder.path)/after")
        return try FolderState(path: "\(folder.path)/after", pipeline: "p")
      }
      return subject
    }
    state.largestValue = 256 << 10
    #expect(await one.run(state) == .passed)
  }

  @Test func aSecondWriterOfOneFolderIsRefused() async throws {
    let folder = try TemporaryFolder()
    let first = try FolderState(path: folder.path, pipeline: "p")
    do {
      _ = try FolderState(path: folder.path, pipeline: "p")
      Issue.record("a second one was opened")
    } catch StateError.unusable(let reason) { #expect(reason.contains("in use by another process")) }
    await first.close()
    await (try FolderState(path: folder.path, pipeline: "p")).close()
  }
}
