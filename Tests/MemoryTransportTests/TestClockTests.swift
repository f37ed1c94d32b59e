import DatabusCore
import MemoryTransport
import Synchronization
import Testing

@Suite struct TestClockTests {
  @Test func standsStillUntilItIsMoved() {
    let clock = TestClock(start: 100, wall: 5000)
    #expect(clock.now().nanoseconds == 100 && clock.wallMilliseconds() == 5000)
    for _ in 0..<4 { clock.advance(by: .microseconds(500)) }
    #expect(clock.now().nanoseconds == 2_000_100 && clock.wallMilliseconds() == 5002)
    clock.setWall(milliseconds: 10)
    #expect(clock.now().nanoseconds == 2_000_100 && clock.wallMilliseconds() == 10)
  }

  @Test func sleepersWakeAtTheirMomentAndNotBefore() async throws {
    let clock = TestClock()
    let start = clock.now()
    let early = Task { try await clock.sleep(until: start + .seconds(1)) }
    let late = Task { try await clock.sleep(until: start + .seconds(2)) }
    await clock.waitForSleepers(2)
    clock.advance(by: .seconds(1))
    try await early.value
    #expect(clock.sleeperCount == 1)
    clock.advance(by: .seconds(1))
    try await late.value
  }

  @Test func aMomentThatIsOverIsNotWaitedFor() async throws {
    let clock = TestClock()
    try await clock.sleep(until: clock.now())
    try await clock.sleep(for: .zero)
  }

  @Test func aCancelledSleeperWakesAtOnce() async {
    let clock = TestClock()
    let task = Task { try await clock.sleep(for: .seconds(1)) }
    await clock.waitForSleepers()
    task.cancel()
    await #expect(throws: CancellationError.self) { try await task.value }
    #expect(clock.sleeperCount == 0)
  }
}
