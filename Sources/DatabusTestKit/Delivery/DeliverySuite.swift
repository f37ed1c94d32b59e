import Dispatcher

/// The contract of `DeliveryChannel` as tests that any channel can run.
///
/// ## How to run the suite on your channel
/// ```swift
/// let channel = ChannelUnderTest("my channel") {
///   let receiver = try MyReceiver()
///   var subject = ChannelSubject(channel: MyChannel(), destination: receiver.url, refused: ["my-scheme:"]) {
///     receiver.messages.map { ReceivedDelivery(id: $0.id, bytes: $0.body) }
///   }
///   subject.unreachable = "my-scheme://nobody/there"
///   return subject
/// }
///
/// @Test(arguments: DeliverySuite.cases)
/// func conforms(_ one: ConformanceCase<ChannelUnderTest>) async {
///   #expect(await one.run(channel).violations == [])
/// }
/// ```
/// In a program of your own, `print(await DeliverySuite.run(channel))`.
///
/// Every wait is bounded by `timeout`, on the machine's clock; a wait beyond it is a violation.
public enum DeliverySuite {
  public static let cases: [ConformanceCase<ChannelUnderTest>] = [
    ConformanceCase("the receiver gets the payload's bytes and the id", bytes),
    ConformanceCase("a delivery that is tried again has the same id", again),
    ConformanceCase("each attempt ends once", once),
    ConformanceCase("a thousand attempts at once", many),
    ConformanceCase("attempts are started from several threads", threads),
    ConformanceCase("an outcome says what happened", outcome),
    ConformanceCase("a destination is one, however often it is looked at", target),
    ConformanceCase("what can never be a destination is refused", refused),
    ConformanceCase("a destination that is away may be tried again", unreachable),
    ConformanceCase("an attempt with hardly any time ends", hasty),
    ConformanceCase("an attempt that hangs ends by its deadline", deadline),
    ConformanceCase("a destination that hangs keeps no other waiting", hanging),
    ConformanceCase("close ends what is under way", closing),
    ConformanceCase("after close nothing is told", closed),
  ]

  /// Runs every case.
  ///
  /// - Parameter timeout: how long any one wait may take before it counts as a violation.
  public static func run(_ channel: ChannelUnderTest, timeout: Duration = .seconds(10)) async -> SuiteReport {
    await ConformanceCase.runAll(cases, channel, named: channel.name, timeout: timeout)
  }

  /// Makes a subject; at the end it is closed, every attempt must have ended once, and everything is removed whatever happens.
  static func with(
    _ channel: ChannelUnderTest, _ trial: Trial, _ body: (DeliveryRun) async throws -> Void
  ) async throws {
    let subject = try await trial.within("make") { try await channel.make() }
    let run = DeliveryRun(subject: subject, trial: trial)
    do {
      try await body(run)
      try await run.close()
    } catch {
      await subject.tearDown()
      throw error
    }
    await subject.tearDown()
  }
}
