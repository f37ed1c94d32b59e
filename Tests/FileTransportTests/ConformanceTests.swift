import DatabusCore
import DatabusTestKit
import FileTransport
import Foundation
import Testing

@Suite struct ConformanceTests {
  /// What lines of files followed by one reader do not have.
  private static let skipped: Set = [
    "keys", "headers", "a tombstone is a record without value", "an empty value is a value",
    "a commit is found again with its metadata", "a commit of another generation is refused",
    "a position reset by an operator is found without metadata",
    "revoked with work in flight: commits count until the release", "a lost assignment can commit nothing",
    "everything is read without a group, from where it is told",
    "positions without records are passed", "an added partition is listed and delivered from its beginning",
    "a full sink accepts a part and takes the rest later", "a record too large fails alone, as a record error",
  ]

  @Test(arguments: TransportSuite.cases)
  func conforms(_ one: ConformanceCase<TransportUnderTest>) async {
    var transport = TransportUnderTest("file") { try await subject(partitions: $0) }
    transport.emptyValues = false
    let outcome = await one.run(transport)
    var isSkipped = false
    if case .skipped = outcome { isSkipped = true }
    #expect(outcome.violations == [])
    #expect(isSkipped == Self.skipped.contains(one.name), "\(outcome)")
  }

  private func subject(partitions: Int) async throws -> TransportSubject {
    let scratch = try Scratch()
    let names = (0..<partitions).map { "events-\($0).jsonl" }
    let paths = try names.map { try scratch.write($0, "") }
    let configuration = FileTransportConfiguration(
      streams: ["events": .init(paths: paths, follow: true)], pollInterval: .milliseconds(2), rotationGrace: .zero)
    let identities = MemoryFileIdentities()
    let transport = FileTransport(configuration: configuration, identities: identities)
    let directory = scratch.path
    var subject = TransportSubject(transport: transport, stream: "events") { partition, record in
      let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: "\(directory)/\(names[partition])"))
      try handle.seekToEnd()
      try handle.write(contentsOf: Data((record.value ?? []) + [10]))
      try handle.close()
    }
    subject.restart = { FileTransport(configuration: configuration, identities: identities) }
    subject.recreate = {
      // As rotation does: the new file stands beside the old one until it takes its name.
      for path in paths {
        try Data().write(to: URL(fileURLWithPath: path + ".new"))
        rename(path + ".new", path)
      }
    }
    subject.tearDown = { _ = scratch }
    return subject
  }
}
