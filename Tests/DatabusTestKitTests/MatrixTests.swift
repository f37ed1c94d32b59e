import DatabusCore
import DatabusTestKit
import Testing

/// The suites are shown to find what they look for: every case has a subject with one defect, which fails this case and
/// passes all others (of deduplication and of channels, whose rules hang together, it may fail others too).
@Suite struct MatrixTests {
  /// The bound of a wait is only reached where a subject is broken in a way that no case expects.
  private let timeout = Duration.seconds(20)

  @Test func everyTransportCaseHasItsDefect() {
    #expect(TransportSuite.cases.map(\.name).sorted() == TransportDefect.allCases.map(\.rawValue).sorted())
  }

  @Test func everyStateCaseHasItsDefect() {
    #expect(StateSuite.cases.map(\.name).sorted() == StateDefect.allCases.map(\.rawValue).sorted())
  }

  @Test func everyDeduplicationCaseHasItsDefect() {
    #expect(DeduplicationSuite.cases.map(\.name).sorted() == DeduplicationDefect.allCases.map(\.rawValue).sorted())
  }

  @Test func everyChannelCaseHasItsDefect() {
    #expect(DeliverySuite.cases.map(\.name).sorted() == ChannelDefect.allCases.map(\.rawValue).sorted())
  }

  @Test func theSoundTransportPassesEveryCase() async {
    let sound = TransportUnderTest("memory") { try await memorySubject(partitions: $0) }
    let report = await TransportSuite.run(sound, timeout: timeout)
    #expect(report.violations == [] && report.skipped.isEmpty, "\(report)")
  }

  @Test func theSoundBackendPassesEveryCase() async {
    let sound = StateUnderTest("memory") { memoryStateSubject() }
    let report = await StateSuite.run(sound, timeout: timeout)
    #expect(report.violations == [] && report.skipped.isEmpty, "\(report)")
  }

  @Test(arguments: TransportDefect.allCases)
  func aBrokenTransportFailsExactlyItsCase(_ defect: TransportDefect) async {
    let broken = TransportUnderTest("\(defect)") { partitions in
      BrokenTransport.subject(defect, try await memorySubject(partitions: partitions))
    }
    let report = await TransportSuite.run(broken, timeout: timeout)
    #expect(report.failed == [defect.rawValue], "\(report)")
    #expect(report.skipped.isEmpty, "\(report)")
  }

  @Test(arguments: StateDefect.allCases)
  func aBrokenBackendFailsExactlyItsCase(_ defect: StateDefect) async {
    var broken = StateUnderTest("\(defect)") { BrokenState.subject(defect, memoryStateSubject()) }
    broken.largestValue = 1 << 18
    let report = await StateSuite.run(broken, timeout: timeout)
    #expect(report.failed == [defect.rawValue], "\(report)")
    #expect(report.skipped.isEmpty, "\(report)")
  }

  @Test func theSoundDeduplicationPassesEveryCase() async {
    let sound = DeduplicationUnderTest("memory") { BrokenDeduplication.subject(nil) }
    let report = await DeduplicationSuite.run(sound, timeout: timeout)
    #expect(report.violations == [] && report.skipped.isEmpty, "\(report)")
  }

  @Test(arguments: DeduplicationDefect.allCases)
  func aBrokenDeduplicationFailsItsCase(_ defect: DeduplicationDefect) async {
    let broken = DeduplicationUnderTest("\(defect)") { BrokenDeduplication.subject(defect) }
    let report = await DeduplicationSuite.run(broken, timeout: timeout)
    #expect(report.failed.contains(defect.rawValue), "\(report)")
  }

  @Test func theSoundChannelPassesEveryCase() async {
    let sound = ChannelUnderTest("memory") { BrokenChannel.subject(nil) }
    let report = await DeliverySuite.run(sound, timeout: timeout)
    #expect(report.violations == [] && report.skipped.isEmpty, "\(report)")
  }

  @Test(arguments: ChannelDefect.allCases)
  func aBrokenChannelFailsItsCase(_ defect: ChannelDefect) async {
    let broken = ChannelUnderTest("\(defect)") { BrokenChannel.subject(defect) }
    let report = await DeliverySuite.run(broken, timeout: timeout)
    #expect(report.failed.contains(defect.rawValue), "\(report)")
  }
}
