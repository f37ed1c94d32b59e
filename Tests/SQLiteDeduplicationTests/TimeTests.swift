import DatabusCore
import Dispatcher
import Foundation
import MemoryTransport
import SQLiteDeduplication
import Testing

/// Leases over restarts, clocks that are set, and what is forgotten.
@Suite struct TimeTests {
  let folder: DeduplicationFolder
  init() throws { folder = try DeduplicationFolder() }

  @Test func leasesAndDelaysEndToTheMillisecond() async throws {
    let store = try await folder.open()
    let clock = folder.clock
    _ = try await store.process([
      claim(id(1), 1), claim(id(2), 1), settle(id(2), 1, .waiting(.milliseconds(1500)), retention: .seconds(1)),
    ])
    clock.advance(by: .milliseconds(1499))
    #expect(
      try await store.process([claim(id(1), 2), claim(id(2), 2)]) == [
        .busy(.milliseconds(58_501)), .wait(.milliseconds(1)),
      ])
    clock.advance(by: .milliseconds(1))
    #expect(try await store.answer(claim(id(2), 2)) == .granted(attempts: 1, isOutcomeUnknown: false))
    clock.advance(by: .milliseconds(58_499))
    #expect(try await store.answer(claim(id(1), 2)) == .busy(.milliseconds(1)))
    clock.advance(by: .milliseconds(1))
    #expect(try await store.answer(claim(id(1), 2)) == .granted(attempts: 1, isOutcomeUnknown: true))
    await store.close()
  }

  @Test func aLeaseGoesOnOverARestart() async throws {
    let store = try await folder.open()
    _ = try await store.answer(claim(id(1), 1))
    await store.close()
    folder.clock.advance(by: .seconds(20))
    let next = try await folder.open()
    #expect(try await next.answer(claim(id(1), 2)) == .busy(.seconds(40)))
    await next.close()
  }

  @Test func aClockThatIsSetBackProlongsLeases() async throws {
    let store = try await folder.open()
    _ = try await store.answer(claim(id(1), 1))
    folder.clock.setWall(milliseconds: folder.clock.wallMilliseconds() - 10_000)
    #expect(try await store.answer(claim(id(1), 2)) == .busy(.seconds(70)))
    #expect(try await store.answer(settle(id(1), 1, .done)) == .settled)
    await store.close()
  }

  @Test func callsRemoveWhatHasExpiredFewRowsAtATime() async throws {
    let store = try await folder.open()
    _ = try await store.process((0..<5000).map { claim(id($0), 1, lease: .seconds(1), retention: .seconds(1)) })
    _ = try await store.process((5000..<5010).map { claim(id($0), 1) })
    folder.clock.advance(by: .seconds(2))
    _ = try await store.answer(claim(id(9000), 1))
    let left = try folder.rows()
    #expect(left < 5011 && left > 4000, "\(left)")
    for number: UInt64 in 1...100 { _ = try await store.answer(claim(id(9000 + number), 1)) }
    #expect(try folder.rows() == 10 + 101)
    await store.close()
  }

  @Test func anIdleStoreForgetsToo() async throws {
    let store = try await folder.open()
    let clock = folder.clock
    _ = try await store.process((0..<5000).map { claim(id($0), 1, lease: .seconds(1), retention: .seconds(1)) })
    _ = try await store.process([claim(id(6000), 1, lease: .seconds(1 << 20))])
    // The first look only finds that there were calls.
    for _ in 0..<4 {
      await clock.waitForSleepers()
      clock.advance(by: .seconds(1))
    }
    await clock.waitForSleepers()
    // It sleeps again: the fourth look is over.
    #expect(try folder.rows() == 1)
    await store.close()
  }

  @Test func aStoreThatIsLetGoEndsItsSleep() async throws {
    do { _ = try await folder.open() }
    let deadline = ContinuousClock.now + .seconds(20)
    while folder.clock.sleeperCount > 0, ContinuousClock.now < deadline { try await Task.sleep(for: .milliseconds(2)) }
    #expect(folder.clock.sleeperCount == 0)
    // And its lock.
    let next = try await folder.open()
    await next.close()
  }
}
