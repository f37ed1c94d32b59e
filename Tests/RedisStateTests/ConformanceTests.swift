import DatabusCore
import DatabusTestKit
import RedisServerFixture
import RedisState
import Testing

@Suite struct ConformanceTests {
  /// One server for all cases: each has a pipeline of its own in it.
  private static let server = Task { try await RedisServer(settings: ["--appendonly", "yes"]) }

  @Test(arguments: StateSuite.cases)
  func conforms(_ one: ConformanceCase<StateUnderTest>) async {
    let state = StateUnderTest("redis") {
      let server = try await ConformanceTests.server.value
      let pipeline = "p\(UInt64.random(in: 0 ... .max))"
      let backend = try await open(server, pipeline)
      var subject = StateSubject(backend: backend)
      subject.reopenAfterKill = { try await open(server, pipeline) }
      subject.tearDown = { await backend.close() }
      return subject
    }
    #expect(await one.run(state) == .passed)
  }
}
