import DatabusCore

/// The contract of `StateBackend` and `StateSession` as tests that any backend can run.
///
/// ## How to run the suite on your backend
/// ```swift
/// let state = StateUnderTest("my state") {
///   let storage = try MyStorage()
///   var subject = StateSubject(backend: MyState(storage))
///   subject.reopenAfterKill = { MyState(storage) }
///   subject.tearDown = { storage.remove() }
///   return subject
/// }
///
/// @Test(arguments: StateSuite.cases)
/// func conforms(_ one: ConformanceCase<StateUnderTest>) async {
///   #expect(await one.run(state).violations == [])
/// }
/// ```
/// In a program of your own, `print(await StateSuite.run(state))`.
///
/// Every wait is bounded by `timeout`, on the machine's clock; a wait beyond it is a violation.
public enum StateSuite {
  public static let cases: [ConformanceCase<StateUnderTest>] = [
    ConformanceCase("puts and deletes of a batch happen together", atomicApply),
    ConformanceCase("a write whose expectation does not hold writes nothing", compareAndSet),
    ConformanceCase("an older session is fenced", fencing),
    ConformanceCase("checkpoint numbers go up by one", checkpointNumbers),
    ConformanceCase("the same checkpoint again changes nothing", idempotentRepeat),
    ConformanceCase("an empty value is not an absent one", emptyValue),
    ConformanceCase("a scan is in the order of the keys' bytes", scanOrder),
    ConformanceCase("a scan finds exactly the keys with the prefix", scanPrefix),
    ConformanceCase("pages of a scan neither repeat nor omit", scanPaging),
    ConformanceCase("large values", largeValues),
    ConformanceCase("scopes are apart, and partitions with state are listed", scopes),
    ConformanceCase("removed state is gone, and its session fenced", removal),
    ConformanceCase("what was applied survives a kill", reopen),
    ConformanceCase("the rule store is written only over its base", ruleStore),
  ]

  /// Runs every case.
  ///
  /// - Parameter timeout: how long any one wait may take before it counts as a violation.
  public static func run(_ state: StateUnderTest, timeout: Duration = .seconds(10)) async -> SuiteReport {
    await ConformanceCase.runAll(cases, state, named: state.name, timeout: timeout)
  }

  /// Makes a subject, and removes it whatever happens.
  static func with(
    _ state: StateUnderTest, _ trial: Trial, _ body: (StateRun) async throws -> Void
  ) async throws {
    let subject = try await trial.within("make") { try await state.make() }
    do {
      try await body(StateRun(subject: subject, backend: subject.backend, trial: trial))
    } catch {
      await subject.tearDown()
      throw error
    }
    await subject.tearDown()
  }

  static let partition = PartitionID(stream: "events", incarnation: "life-1", index: 0)
}

/// What the cases do with a backend, each wait bounded.
struct StateRun: Sendable {
  let subject: StateSubject
  var backend: any StateBackend
  let trial: Trial

  func open(_ scope: StateScope = .partition(StateSuite.partition)) async throws -> any StateSession {
    let backend = backend
    return try await trial.within("open") { try await backend.open(scope) }
  }

  func apply(_ session: any StateSession, _ batch: WriteBatch, checkpoint: UInt64? = nil) async throws {
    try await trial.within("apply") { try await session.apply(batch, checkpoint: checkpoint) }
  }

  func apply(
    _ session: any StateSession, checkpoint: UInt64? = nil, _ fill: (inout WriteBatch) -> Void
  ) async throws {
    var batch = WriteBatch()
    fill(&batch)
    try await apply(session, batch, checkpoint: checkpoint)
  }

  /// A write that must be refused so.
  func checkRefused(
    _ expected: Refusal, _ session: any StateSession, checkpoint: UInt64? = nil, at place: String,
    _ fill: (inout WriteBatch) -> Void
  ) async throws {
    do {
      try await apply(session, checkpoint: checkpoint, fill)
      trial.report("a write was accepted that should be refused (\(expected))", at: place)
    } catch let error as StateError {
      trial.checkEqual(Refusal(error), expected, "the refusal", at: place)
    }
  }

  enum Refusal: Equatable {
    case fenced, diverged
    case other(String)

    init(_ error: StateError) {
      switch error {
      case .fenced: self = .fenced
      case .diverged: self = .diverged
      default: self = .other("\(error)")
      }
    }
  }

  func get(_ session: any StateSession, _ keys: [String]) async throws -> [[UInt8]?] {
    let keys = keys.map(bytes)
    return try await trial.within("multiGet") { try await session.multiGet(keys) }
  }

  func checkHolds(
    _ session: any StateSession, _ expected: [(String, String?)], at place: String
  ) async throws {
    let found = try await get(session, expected.map(\.0))
    for (index, (key, value)) in expected.enumerated() {
      let actual = index < found.count ? found[index] : nil
      trial.check(
        actual == value.map(bytes),
        "\(key) holds \(show(actual)), not \(value ?? "nothing")", at: place)
    }
  }

  func scan(_ session: any StateSession, _ prefix: [UInt8], limit: Int = 1000) async throws -> [[UInt8]] {
    var keys: [[UInt8]] = []
    var after: [UInt8]?
    repeat {
      let last = after
      let page = try await trial.within("scan") {
        try await session.scan(prefix: prefix, after: last, limit: limit)
      }
      trial.check(page.entries.count <= limit, "a page has \(page.entries.count) entries; the limit is \(limit)")
      keys += page.entries.map(\.key)
      after = page.last
      if keys.count > 10_000 {
        trial.report("the scan does not end")
        return keys
      }
    } while after != nil
    return keys
  }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
