import DatabusCore
import DatabusTestKit
import MemoryTransport
import Testing

@Suite struct ConformanceTests {
  @Test(arguments: TransportSuite.cases)
  func conforms(_ one: ConformanceCase<TransportUnderTest>) async {
    let transport = TransportUnderTest("memory") { try await subject(partitions: $0, MemoryTransport.Options()) }
    #expect(await one.run(transport) == .passed)
  }

  /// As an engine sees a transport that keeps no commits and has no timestamps.
  @Test(arguments: TransportSuite.cases)
  func conformsWithFewerCapabilities(_ one: ConformanceCase<TransportUnderTest>) async {
    var options = MemoryTransport.Options()
    options.commits = false
    options.timestamps = false
    let settled = options
    let transport = TransportUnderTest("memory") { try await subject(partitions: $0, settled) }
    #expect(await one.run(transport).violations == [])
  }

  private func subject(partitions: Int, _ base: MemoryTransport.Options) async throws -> TransportSubject {
    let log = MemoryLog()
    var options = base
    options.maximumInFlight = 64
    options.maximumRecordBytes = 65_536
    let settled = options
    let transport = MemoryTransport(log, options: settled)
    let outside = MemoryTransport(log, options: settled)
    let control = outside.control
    try await outside.createTopic("events", partitions: partitions)
    var subject = TransportSubject(transport: transport, stream: "events") { partition, record in
      try outside.append(
        to: "events", partition: partition, key: record.key, value: record.value, headers: record.headers)
    }
    subject.restart = {
      await transport.close()
      return MemoryTransport(log, options: settled)
    }
    subject.addPartition = { control.addPartition(to: "events") }
    subject.recreate = { control.recreate("events") }
    subject.truncate = { control.truncate("events", partition: $0.index, before: $1) }
    subject.skip = { control.skipPositions("events", partition: $0, positions: 3) }
    subject.revoke = { control.revoke("events", group: $0, partition: $1.index, within: .seconds(10)) }
    subject.lose = { control.lose("events", group: $0, partition: $1.index) }
    subject.limitRoom = { control.limitRoom(on: "events", to: $0) }
    return subject
  }
}
