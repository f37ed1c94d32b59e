import Testing

@testable import DatabusCore

@Suite struct ProgressTrackerTests {
  /// Every slot in a list, looked at from the beginning each time.
  private struct Model {
    struct Slot {
      var next: UInt64
      var open: Set<UInt16>?
    }
    var slots: [Slot] = []
    let start: UInt64

    var passed: Int { slots.firstIndex { $0.open != [] } ?? slots.count }
    var watermark: UInt64 { passed == 0 ? start : slots[passed - 1].next }
    var openCount: Int { slots.count { $0.open != [] } }
  }

  /// Opens, fan-outs and ends in any order, ends told twice, ends of slots that have passed.
  @Test(arguments: [0, 1, 1000, UInt64(UInt32.max) - 50, UInt64(UInt32.max) * 3 - 7], [11, 12] as [UInt64])
  func theWatermarkIsWhatANaiveModelSays(_ firstSlot: UInt64, _ seed: UInt64) {
    var random = SeededGenerator(seed: seed &+ firstSlot)
    var tracker = ProgressTracker(position: 5, capacity: 64, firstSlot: firstSlot)
    var model = Model(start: 5)
    var position: UInt64 = 5
    for step in 0..<6000 {
      switch Int.random(in: 0..<10, using: &random) {
      case 0..<3:
        // Compaction leaves holes in positions.
        position += UInt64.random(in: 1...5, using: &random)
        let slot = tracker.open(next: position)
        #expect(slot == firstSlot + UInt64(model.slots.count))
        model.slots.append(.init(next: position, open: nil))
      case 3..<5:
        guard let index = model.slots.indices.first(where: { model.slots[$0].open == nil }) else { continue }
        let isLarge = Int.random(in: 0..<20, using: &random) == 0
        let count = UInt16.random(in: 0...(isLarge ? 200 : 3), using: &random)
        tracker.route(firstSlot + UInt64(index), outstanding: count)
        // A second time changes nothing.
        tracker.route(firstSlot + UInt64(index), outstanding: count + 1)
        model.slots[index].open = Set(0..<count)
      default:
        guard !model.slots.isEmpty else { continue }
        let from = max(0, model.passed - 5)
        let index = Int.random(in: min(from, model.slots.count - 1)..<model.slots.count, using: &random)
        guard let open = model.slots[index].open else { continue }
        let ordinal = open.min() ?? 0
        let short = UInt32(truncatingIfNeeded: firstSlot + UInt64(index))
        for _ in 0..<Int.random(in: 1...2, using: &random) { tracker.close(short, ordinal: ordinal) }
        model.slots[index].open?.remove(ordinal)
        let hasEnded = tracker.hasEnded(short, ordinal: ordinal)
        #expect(hasEnded)
      }
      if step % 3 == 0 { tracker.advance() }
      #expect(tracker.watermark <= model.watermark)
      #expect(tracker.openCount == model.openCount)
    }
    tracker.advance()
    #expect(tracker.watermark == model.watermark)
    for index in model.slots.indices {
      let open = model.slots[index].open
      if open == nil { tracker.route(firstSlot + UInt64(index), outstanding: 0) }
      for ordinal in open ?? [] {
        tracker.close(UInt32(truncatingIfNeeded: firstSlot + UInt64(index)), ordinal: ordinal)
      }
    }
    tracker.advance()
    #expect(tracker.openCount == 0 && tracker.span == 0)
    #expect(tracker.watermark == position)
  }

  @Test func anOpenSlotIsNeverPassedHoweverManyClosedStandBehindIt() {
    var tracker = ProgressTracker(position: 0, capacity: 64)
    for next in 1...10_000 as ClosedRange<UInt64> { tracker.open(next: next) }
    for slot in 1..<10_000 as Range<UInt64> { tracker.route(slot, outstanding: 0) }
    tracker.advance()
    #expect(tracker.watermark == 0)
    #expect(tracker.span == 10_000)
    #expect(tracker.highestPositionSeen == 10_000)
    tracker.route(0, outstanding: 1)
    tracker.advance()
    #expect(tracker.watermark == 0)
    tracker.close(0, ordinal: Token.deadLetter)
    tracker.advance()
    #expect(tracker.watermark == 10_000)
  }

  @Test func endsOfManyDeliveriesAreCountedOnceEach() {
    var tracker = ProgressTracker(position: 0)
    tracker.open(next: 1)
    tracker.route(0, outstanding: 1000)
    for ordinal in 0..<999 as Range<UInt16> {
      tracker.close(0, ordinal: ordinal)
      tracker.close(0, ordinal: ordinal)
    }
    tracker.advance()
    #expect(tracker.watermark == 0)
    let isOpen = !tracker.hasEnded(0, ordinal: 999)
    #expect(isOpen)
    tracker.close(0, ordinal: 999)
    tracker.advance()
    #expect(tracker.watermark == 1)
    let hasEnded = tracker.hasEnded(0, ordinal: 5)
    #expect(hasEnded)
  }

  @Test func anEndBeforeTheRoutingChangesNothing() {
    var tracker = ProgressTracker(position: 3)
    tracker.open(next: 4)
    tracker.close(0, ordinal: 0)
    tracker.close(7, ordinal: 0)
    tracker.advance()
    #expect(tracker.watermark == 3 && tracker.openCount == 1)
  }

  @Test func tokensSayWhatWasPutIntoThem() {
    for tracker in [1, 65_535] as [UInt16] {
      for slot in [0, 1, UInt32.max] {
        for ordinal in [0, 61, 62, Token.deadLetter] {
          let token = Token(tracker: tracker, slot: slot, ordinal: ordinal)
          #expect(Token(token.rawValue) == token)
        }
      }
    }
  }
}
