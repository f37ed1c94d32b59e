import Dispatcher

/// The contract of `DeduplicationStore` as tests that any store can run.
///
/// ## How to run the suite on your store
/// ```swift
/// let store = DeduplicationUnderTest("my store") {
///   let clock = MyClock()
///   let storage = try MyStorage()
///   return DeduplicationSubject(
///     store: MyStore(storage, clock), short: .seconds(1), pass: { clock.advance(by: $0) },
///     reopenAfterKill: { MyStore(storage, clock) })
/// }
///
/// @Test(arguments: DeduplicationSuite.cases)
/// func conforms(_ one: ConformanceCase<DeduplicationUnderTest>) async {
///   #expect(await one.run(store).violations == [])
/// }
/// ```
/// In a program of your own, `print(await DeduplicationSuite.run(store))`.
///
/// Every wait is bounded by `timeout`, on the machine's clock; a wait beyond it is a violation. What must not be over while a case looks
/// has an hour.
public enum DeduplicationSuite {
  public static let cases: [ConformanceCase<DeduplicationUnderTest>] = [
    ConformanceCase("a delivery that nobody knows is granted", unknown),
    ConformanceCase("an attempt that asks again is granted again", lostAnswer),
    ConformanceCase("a running lease keeps others away", lease),
    ConformanceCase("an attempt whose lease ran out is told to the next one", lapsedLease),
    ConformanceCase("an unknown outcome is told again", unknownOutcomeAgain),
    ConformanceCase("a waiting delivery is granted once it is due", waiting),
    ConformanceCase("a stored delivery is granted to the copy that has come as far", stored),
    ConformanceCase("what is done is done", done),
    ConformanceCase("what is dead is dead", dead),
    ConformanceCase("only the owner settles", ownership),
    ConformanceCase("done is never refused", doneByAnyone),
    ConformanceCase("a settlement that comes again is settled", settledAgain),
    ConformanceCase("the owner may settle anew", settledAnew),
    ConformanceCase("attempts are counted", attempts),
    ConformanceCase("a replay starts afresh", replays),
    ConformanceCase("what is forgotten was never there", forgetting),
    ConformanceCase("requests of one call take effect in their order", order),
    ConformanceCase("of claims at the same time one is granted", race),
    ConformanceCase("ten thousand deliveries in one call", many),
    ConformanceCase("ids and tokens are bits, whatever they are", bits),
    ConformanceCase("states are told, and nothing changes by it", states),
    ConformanceCase("marks are set, replaced and removed", marks),
    ConformanceCase("what was answered survives a kill", reopen),
    ConformanceCase("a closed store says so", closed),
  ]

  /// Runs every case.
  ///
  /// - Parameter timeout: how long any one wait may take before it counts as a violation.
  public static func run(_ store: DeduplicationUnderTest, timeout: Duration = .seconds(10)) async -> SuiteReport {
    await ConformanceCase.runAll(cases, store, named: store.name, timeout: timeout)
  }

  /// Makes a subject, and removes it whatever happens.
  static func with(
    _ store: DeduplicationUnderTest, _ trial: Trial, _ body: (DeduplicationRun) async throws -> Void
  ) async throws {
    let subject = try await trial.within("make") { try await store.make() }
    do {
      try await body(DeduplicationRun(subject: subject, store: subject.store, trial: trial))
    } catch {
      await subject.tearDown()
      throw error
    }
    await subject.tearDown()
  }

  static let id = DeduplicationRun.id(1)
  static let long = DeduplicationRun.long
}
