import DatabusTestKit
import Dispatcher
import RedisDeduplication
import RedisServerFixture
import Testing

@Suite struct ConformanceTests {
  /// One server for all cases: each has a pipeline of its own in it.
  private static let server = Task { try await RedisServer() }

  @Test(arguments: DeduplicationSuite.cases)
  func conforms(_ one: ConformanceCase<DeduplicationUnderTest>) async {
    let store = DeduplicationUnderTest("redis") {
      let server = try await ConformanceTests.server.value
      let pipeline = "p\(UInt64.random(in: 0 ... .max))"
      let store = try await open(server, pipeline)
      var subject = DeduplicationSubject(
        store: store, short: .milliseconds(30), pass: { try await Task.sleep(for: $0) },
        reopenAfterKill: { try await open(server, pipeline) })
      subject.openAnother = { try await open(server, pipeline) }
      subject.tearDown = { await store.close() }
      return subject
    }
    #expect(await one.run(store) == .passed)
  }
}
