import DatabusCore

extension DatabusCommand {
  static let positionsSkip = Command(
    "skip", summary: "Set the next record of a partition aside as a dead letter, unread by any rule",
    discussion: """
      For a record that ends the process each time it is routed. Stop the pipeline first: it is refused while a process runs.
      The record at the partition's position is written to the dead-letter stream with the reason "skipped"; once that is
      confirmed, the position moves behind it. Nothing else is skipped, and nothing is lost.

      How the record is found: 'databus run --one-by-one' ends at it, and its position is then the partition's.
      """,
    examples: [
      .init("databus positions skip --dead-letter", "The next record, where there is one partition."),
      .init("databus positions skip --dead-letter --partition 3 --position 4711", "Only if that is the next one."),
    ],
    options: [
      .config, .flag("dead-letter", "Write it to the dead-letter stream: a record is never dropped without one"),
      .value("partition", "N", kind: .integer(0...Int(Int32.max)), "The partition's number, where there are several"),
      .value("position", "POSITION", kind: .integer(0...Int.max), "Where the record must stand"),
    ]
  ) { arguments, context in
    guard arguments.flag("dead-letter") else {
      throw UsageError(
        command: "databus positions skip",
        problems: [
          .init(
            message: "--dead-letter is missing: a record is never dropped without a dead letter",
            hint: "'databus positions set' moves on without one")
        ])
    }
    let configuration = try context.configuration(arguments)
    try await RunningProcesses.refuse(configuration, context, "no record can be skipped")
    // The state is held from here to the end: a process that starts meanwhile is refused, or fences us and nothing is moved.
    let access = try await PipelineAccess(configuration, context.registry, for: .pipeline)
    do {
      let events = configuration.pipeline.events.stream
      let text = try await access.withTransport(events.transport) { transport in
        try await RecordSkip(access, transport).run(
          partition: arguments.integer("partition"), position: arguments.integer("position").map { UInt64($0) })
      }
      try context.output.write(text)
    } catch {
      await access.close()
      throw error
    }
    await access.close()
    return .done
  }
}

/// Sets one record aside.
private struct RecordSkip {
  private let access: PipelineAccess
  private let transport: any Transport
  private var events: StreamReference { access.configuration.pipeline.events.stream }

  init(_ access: PipelineAccess, _ transport: any Transport) {
    self.access = access
    self.transport = transport
  }

  /// - Returns: what was done, for people.
  func run(partition index: Int?, position wanted: UInt64?) async throws -> String {
    guard PipelineStatus.canLook(access) else { throw DatabusCommand.notReplayable(access) }
    let committed = try await PipelineStatus.committed(access, transport)
    guard committed != nil || access.isStateVisible else {
      throw CommandFailure(
        .usage, "no position is kept: state of type \"\(access.configuration.state.type)\" ends with its process",
        hint: "there is nothing to skip at the next start but what the stream begins with")
    }
    let partition = try await choose(index)
    let held = try await HeldPartition(partition, state: access.state, committed: committed)
    do {
      let text = try await skip(partition, held, wanted, keepsCommits: committed != nil)
      await held.close()
      return text
    } catch {
      await held.close()
      throw error
    }
  }

  private func choose(_ index: Int?) async throws -> PartitionID {
    let partitions = try await StreamEnds.read(transport, events.stream).keys.sorted()
    let all = partitions.map { String($0.index) }.joined(separator: ", ")
    if let index {
      if let found = partitions.first(where: { $0.index == index }) { return found }
      throw CommandFailure(.usage, "\(events.stream) has no partition \(index)", hint: "there are: \(all)")
    }
    if let only = partitions.first, partitions.count == 1 { return only }
    throw CommandFailure(
      .usage, "\(events.stream) has \(partitions.count) partitions", hint: "choose one with --partition: \(all)")
  }

  private func skip(
    _ partition: PartitionID, _ held: HeldPartition, _ wanted: UInt64?, keepsCommits: Bool
  ) async throws -> String {
    if let problem = held.resume.problem { throw CommandFailure(.failed, problem) }
    guard let position = held.resume.position else {
      throw CommandFailure(
        .failed, "\(partition) has no position yet", hint: "a first start gives it one: databus run --one-by-one")
    }
    let record = try await read(partition, position)
    if let wanted, wanted != record.position, wanted != position.next {
      throw CommandFailure(
        .usage, "the next record is \(partition)/\(record.position), and not \(wanted)",
        hint:
          "only the next record can be skipped; 'databus run --one-by-one' goes on up to the one that ends the process")
    }
    let letters = access.configuration.pipeline.deadLetters
    try await write(record, to: letters)
    let next = Position(next: record.next)
    try await held.move(to: next)
    if keepsCommits {
      try await transport.setGroupPosition(access.configuration.pipeline.name, partition, to: next)
    }
    return "\(partition)/\(record.position): written to \(letters.stream) as skipped; the pipeline goes on at \(next)\n"
  }

  /// How long the record is waited for.
  private static let readTimeout = Duration.seconds(30)

  private func read(_ partition: PartitionID, _ position: Position) async throws -> SkippedRecord {
    let source = try await transport.makeSource(events.stream, .everything(from: [partition: position]))
    do {
      let record = try await read(partition, position, source)
      await source.close()
      return record
    } catch {
      await source.close()
      throw error
    }
  }

  private func read(
    _ partition: PartitionID, _ position: Position, _ source: any EventSource
  ) async throws -> SkippedRecord {
    let clock = SystemClock()
    let deadline = clock.now() + RecordSkip.readTimeout
    let end = try await source.bounds(of: [partition])[0].end
    let nothing = CommandFailure(.failed, "there is no record at \(partition)/\(position) yet: it is the end")
    if position.next >= end.next { throw nothing }
    while clock.now() < deadline {
      let event = try await source.next(records: 1, bytes: 1, wait: .milliseconds(100))
      switch consume event {
      case .batch(let batch):
        if batch.assignment.partition == partition, batch.count > 0 {
          return SkippedRecord(batch, at: 0, detail: "skipped by an operator (databus positions skip)")
        }
      case .assigned(let assignments):
        for assignment in assignments {
          if assignment.partition == partition {
            try await source.seek(assignment, to: position)
          } else if !source.capabilities.finite {
            // Only one is of interest. Of a finite stream, one that pauses would hold back what stands behind it.
            try await source.pause([assignment], true)
          }
        }
      case .gap(let assignment, let from, let to):
        if assignment.partition == partition {
          throw CommandFailure(
            .failed, "the records of \(partition) from \(from) up to \(to) are gone: there is nothing to skip",
            hint: "start the pipeline: it tells the gap and goes on behind it (events.onGap)")
        }
      case .passed(let assignment, let to):
        if assignment.partition == partition, to >= end.next { throw nothing }
      case .revoking(let assignments, _): try await source.release(assignments)
      case .lost: break
      case .idle: break
      case .end: throw nothing
      }
    }
    throw CommandFailure(
      .failed, "\(partition)/\(position) could not be read within \(Quantity.text(RecordSkip.readTimeout))",
      hint: "nothing was changed; look whether 'databus tail \(events.stream) --from-start' can read it")
  }

  /// Returns once the dead letter is safe.
  private func write(_ record: SkippedRecord, to stream: StreamReference) async throws {
    if stream.transport == events.transport { return try await write(record, transport, stream.stream) }
    try await access.withTransport(stream.transport) { try await write(record, $0, stream.stream) }
  }

  private func write(_ record: SkippedRecord, _ transport: any Transport, _ stream: String) async throws {
    let writer = try await StreamWriter(transport, stream)
    do {
      let capabilities = writer.capabilities
      try await writer.append { batch, token in
        record.appendDeadLetter(
          to: &batch, capabilities: capabilities, timestamp: SystemClock().wallMilliseconds(), token: token)
      }
      try await writer.confirm()
      if let failure = writer.takeFailures().first {
        throw CommandFailure(
          .failed, "the dead letter was not taken by \(stream): \(failure.error.message)",
          hint: "nothing was skipped; mend the dead-letter stream and try again")
      }
    } catch {
      await writer.close()
      throw error
    }
    await writer.close()
  }
}
