import DatabusCore

/// The contract of `Transport`, `EventSource` and `EventSink` as tests that any transport can run.
///
/// ## How to run the suite on your transport
/// 1. In a test target that depends on `DatabusTestKit`, describe the transport: how a fresh one with one empty stream is
///    made, how a record gets into it from outside, and what else can be done to it. What you leave nil is reported as
///    skipped, with the reason; start with `append` alone and add hooks until only those are skipped that your transport
///    cannot do.
///    ```swift
///    let transport = TransportUnderTest("my transport") { partitions in
///      let storage = try MyStorage(partitions: partitions)
///      var subject = TransportSubject(transport: MyTransport(storage), stream: "events") { partition, record in
///        try storage.append(record.key, record.value, to: partition)
///      }
///      subject.restart = { MyTransport(storage) }
///      subject.tearDown = { storage.remove() }
///      return subject
///    }
///    ```
/// 2. Run it. With Swift Testing, each case is an argument of one test:
///    ```swift
///    @Test(arguments: TransportSuite.cases)
///    func conforms(_ one: ConformanceCase<TransportUnderTest>) async {
///      #expect(await one.run(transport).violations == [])
///    }
///    ```
///    In a program of your own, `print(await TransportSuite.run(transport))`.
///
/// What a case asks of the transport follows from `SourceCapabilities` and `SinkCapabilities`: a capability that is not
/// declared is not tested, one that is declared and not kept is a violation. Positions are opaque: the suite only uses those
/// that the source told. Streams that are followed must not be `finite`. Make limits small (a sink's `maximumInFlight` of
/// 64 and `maximumRecordBytes` of 64 KiB, say), or the cases about them take long or are skipped.
///
/// Every wait is bounded by `timeout`, on the machine's clock; a wait beyond it is a violation.
public enum TransportSuite {
  public static let cases: [ConformanceCase<TransportUnderTest>] = [
    ConformanceCase("order within a partition", orderPerPartition),
    ConformanceCase("a batch is no larger than asked for", batchLimit),
    ConformanceCase("keys", keys),
    ConformanceCase("headers", headers),
    ConformanceCase("a tombstone is a record without value", tombstone),
    ConformanceCase("an empty value is a value", emptyValue),
    ConformanceCase("a commit is found again with its metadata", commitThenResume),
    ConformanceCase("resumes at exactly the position", exactResume),
    ConformanceCase("a commit of another generation is refused", staleGeneration),
    ConformanceCase("a position reset by an operator is found without metadata", operatorReset),
    ConformanceCase("revoked with work in flight: commits count until the release", revoke),
    ConformanceCase("a lost assignment can commit nothing", lose),
    ConformanceCase("what is asked of an assignment that is over is ignored", pastAssignment),
    ConformanceCase("a partition has one owner and is assigned once", duplicateAssignment),
    ConformanceCase("everything is read without a group, from where it is told", everything),
    ConformanceCase("a paused partition is silent and goes on", pause),
    ConformanceCase("read again, a record has the same identity", identityAfterReread),
    ConformanceCase("in a stream made anew, a record has another identity", identityAfterRecreation),
    ConformanceCase("a position out of range is told as a gap", outOfRange),
    ConformanceCase("positions without records are passed", holes),
    ConformanceCase("an added partition is listed and delivered from its beginning", addedPartition),
    ConformanceCase("records and commits survive a restart", reconnect),
    ConformanceCase("closing ends a wait", closeWhileBlocked),
    ConformanceCase("a full sink accepts a part and takes the rest later", saturation),
    ConformanceCase("a record too large fails alone, as a record error", oversize),
    ConformanceCase("every accepted delivery ends exactly once", endsOnce),
  ]

  /// Runs every case.
  ///
  /// - Parameter timeout: how long any one wait may take before it counts as a violation.
  public static func run(_ transport: TransportUnderTest, timeout: Duration = .seconds(10)) async -> SuiteReport {
    await ConformanceCase.runAll(cases, transport, named: transport.name, timeout: timeout)
  }

  /// The group in whose name the suite reads.
  public static let group = "conformance"

  /// Makes a subject, and removes it whatever happens.
  static func with(
    _ transport: TransportUnderTest, _ trial: Trial, partitions: Int = 1, sink: Bool = false,
    _ body: (TransportRun) async throws -> Void
  ) async throws {
    try trial.require(transport.hasSources, "it has no sources to read with")
    if sink { try trial.require(transport.hasSinks, "it has no sinks") }
    try trial.require(
      partitions <= transport.maximumPartitions,
      "it has \(transport.maximumPartitions) partition(s); the case needs \(partitions)")
    let subject = try await trial.within("make") { try await transport.make(partitions) }
    do {
      try await body(TransportRun(subject: subject, quiet: transport.quiet, trial: trial))
    } catch {
      await subject.tearDown()
      throw error
    }
    await subject.tearDown()
  }
}

/// What the cases do with a subject, each wait bounded.
struct TransportRun: Sendable {
  var subject: TransportSubject
  let quiet: Duration
  let trial: Trial

  func open(_ start: SourceReader.Start = .first, batchRecords: Int = 16) async throws -> SourceReader {
    let (transport, stream) = (subject.transport, subject.stream)
    let source = try await trial.within("makeSource") {
      try await transport.makeSource(stream, .group(TransportSuite.group))
    }
    return SourceReader(source, start: start, batchRecords: batchRecords)
  }

  func append(_ record: TestRecord, to partition: Int = 0) async throws {
    let append = subject.append
    try await trial.within("append") { try await append(partition, record) }
  }

  func append(_ numbers: Range<Int>, to partition: Int = 0) async throws {
    for number in numbers { try await append(TestRecord(number), to: partition) }
  }

  func read(
    _ reader: SourceReader, until what: String, _ condition: @escaping @Sendable (Observations) -> Bool
  ) async throws -> Observations {
    try await trial.within(what) { try await reader.pump(until: condition) }
  }

  /// Reads until so many records have come.
  func read(_ reader: SourceReader, records: Int) async throws -> Observations {
    try await read(reader, until: "the arrival of \(records) records") { $0.records.count >= records }
  }

  /// Polls for a while, to see what must not come.
  func poll(_ reader: SourceReader) async throws -> Observations {
    let quiet = quiet
    return try await trial.within("next") { try await reader.pump(for: quiet) }
  }

  func commit(_ reader: SourceReader, _ marks: [CommitMark]) async throws -> [Assignment] {
    try await trial.within("commit") { try await reader.source.commit(marks) }
  }

  func close(_ reader: SourceReader) async throws {
    try await trial.within("close") { await reader.source.close() }
  }

  func close(_ writer: SinkWriter) async throws {
    try await trial.within("close") { await writer.close() }
  }

  /// Opens a source only to see what it can do.
  func capabilities() async throws -> SourceCapabilities {
    let reader = try await open(.nowhere)
    let capabilities = reader.source.capabilities
    try await close(reader)
    return capabilities
  }

  /// What the group has committed for a partition, where the transport can be asked; the outer nil: it cannot.
  func groupPosition(_ partition: PartitionID) async throws -> CommittedPosition?? {
    let (transport, stream) = (subject.transport, subject.stream)
    guard
      let all = try? await trial.within(
        "groupPositions",
        { () async throws -> [PartitionID: CommittedPosition] in
          let all = try await transport.groupPositions(TransportSuite.group, stream: stream)
          return Dictionary(
            all.compactMap { one in one.committed.map { (one.partition, $0) } }, uniquingKeysWith: { $1 })
        })
    else { return .none }
    return .some(all[partition])
  }
}

extension CommitMark {
  /// Right behind a record that was read.
  init(after record: SeenRecord, _ metadata: String) {
    self.init(assignment: record.assignment, position: Position(next: record.next), metadata: metadata)
  }
}
