import DatabusCore
import DatabusTestKit
import Dispatcher
import RedisDeduplication
import RedisServerFixture
import Testing

/// The script of Redis and the rules in Swift are the same.
@Suite struct RulesTests {
  private struct Generator: RandomNumberGenerator {
    var state: UInt64

    /// SplitMix64.
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var word = state
      word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
      word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
      return word ^ (word >> 31)
    }
  }

  /// Leases and delays are over at once or in no test: nothing depends on how long it takes.
  private func request(_ round: UInt64, _ random: inout Generator) -> DeduplicationRequest {
    let id = id(round << 32 | .random(in: 0..<40, using: &random))
    let token = UInt64.random(in: 1...4, using: &random)
    let times: [Duration] = [.zero, .seconds(3600)]
    let attempts = Int.random(in: 0...4, using: &random)
    if Bool.random(using: &random) {
      return .claim(
        .init(
          id: id, token: token, lease: times[Int.random(in: 0...1, using: &random)], retention: .seconds(3600),
          attempts: attempts, replays: Int.random(in: 0...9, using: &random) / 8))
    }
    let states: [DeduplicationRequest.Settlement.State] = [
      .waiting(.zero), .waiting(.seconds(3600)), .stored, .stored, .dead, .done,
    ]
    return .settle(
      .init(
        id: id, token: token, state: states[Int.random(in: 0..<states.count, using: &random)], attempts: attempts,
        retention: .seconds(3600)))
  }

  /// Without how long.
  private func kind(_ answer: DeduplicationAnswer) -> DeduplicationAnswer {
    switch answer {
    case .busy: .busy(.zero)
    case .wait: .wait(.zero)
    default: answer
    }
  }

  @Test(arguments: [1, 2, 3, 4] as [UInt64])
  func randomRequestsHaveTheSameAnswers(_ seed: UInt64) async throws {
    let server = try await RedisServer()
    let store = try await open(server)
    var random = Generator(state: seed)
    var seen: Set<String> = []
    let model = MemoryDeduplication()
    // Deliveries end sooner or later: each round has others.
    for round: UInt64 in 0..<60 {
      for _ in 0..<3 {
        let requests = (0..<100).map { _ in request(round, &random) }
        let (found, expected) = (try await store.process(requests), try await model.process(requests))
        for (index, pair) in zip(found, expected).enumerated() where kind(pair.0) != kind(pair.1) {
          Issue.record("seed \(seed), round \(round): \(requests[index]) is \(pair.0), not \(pair.1)")
          return
        }
        for answer in found { seen.insert("\(kind(answer))") }
      }
    }
    // All kinds of answers, and not the easy ones only.
    #expect(seen.count >= 12, "\(seen.sorted())")
    await store.close()
  }
}
