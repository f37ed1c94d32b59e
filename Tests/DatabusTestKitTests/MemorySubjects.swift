import DatabusCore
import DatabusTestKit
import MemoryState
import MemoryTransport

/// The memory transport as the suite sees it: every hook is there, so no case is skipped.
func memorySubject(partitions: Int) async throws -> TransportSubject {
  let log = MemoryLog()
  var options = MemoryTransport.Options()
  options.maximumInFlight = 64
  options.maximumRecordBytes = 65_536
  let settled = options
  let transport = MemoryTransport(log, options: settled)
  let outside = MemoryTransport(log, options: settled)
  let control = outside.control
  let stream = "events"
  try await outside.createTopic(stream, partitions: partitions)
  var subject = TransportSubject(transport: transport, stream: stream) { partition, record in
    try outside.append(
      to: stream, partition: partition, key: record.key, value: record.value, headers: record.headers)
  }
  subject.restart = {
    await transport.close()
    return MemoryTransport(log, options: settled)
  }
  subject.addPartition = { control.addPartition(to: stream) }
  subject.recreate = { control.recreate(stream) }
  subject.truncate = { control.truncate(stream, partition: $0.index, before: $1) }
  subject.setGroupPosition = { control.setCommitted(stream, group: $0, partition: $1.index, to: $2) }
  subject.skip = { control.skipPositions(stream, partition: $0, positions: 3) }
  subject.revoke = { control.revoke(stream, group: $0, partition: $1.index, within: .seconds(10)) }
  subject.lose = { control.lose(stream, group: $0, partition: $1.index) }
  subject.limitRoom = { control.limitRoom(on: stream, to: $0) }
  return subject
}

/// The memory state as the suite sees it.
func memoryStateSubject() -> StateSubject {
  let store = MemoryStore(isShared: true, isDurable: true)
  var subject = StateSubject(backend: MemoryState(store))
  subject.reopenAfterKill = { MemoryState(store) }
  return subject
}
