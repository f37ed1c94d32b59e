import AttemptLog
import DatabusCore
import Dispatcher
import Foundation
import SQLiteClient
import Testing

/// What is noted is told again.
@Suite struct StoryTests {
  private let folder: AttemptFolder
  init() throws { folder = try AttemptFolder() }

  @Test func aDeliveryIsToldFromItsEventToItsEnd() async throws {
    let now = SystemClock().wallMilliseconds()
    let notes = [
      note("a", .failed, at: now) {
        $0.status = 503
        $0.duration = .microseconds(12_345)
      },
      note("a", .stored, at: now + 1) {
        $0.stream = "results-http-retry-1m"
        $0.due = now + 60_000
      },
      note("b", .delivered),
      note("a", .rejected, at: now + 2, attempts: 2) { $0.status = 410 },
      note("a", .dead, at: now + 3, attempts: 2) { $0.reason = .gone },
    ]
    try await folder.write(notes)
    let story = try #require(try await folder.read { try await $0.story(of: "a") })
    #expect(story.event == "events/0/1" && story.rule == "r" && story.result == "results-http/0/1")
    #expect(story.destination == "https://a.example/hook?…")
    #expect(story.entries.map(\.happening) == [.failed, .stored, .rejected, .dead])
    #expect(story.entries.map(\.at) == [now, now + 1, now + 2, now + 3])
    #expect(story.entries.map(\.status) == [503, nil, 410, nil])
    #expect(story.entries.map(\.duration) == [.microseconds(12_345), nil, .zero, nil])
    #expect(story.entries[1].stream == "results-http-retry-1m" && story.entries[1].due == now + 60_000)
    #expect(story.end.reason == "gone" && story.attempts == 2 && !story.hasArrived)
    #expect(try await folder.read { try await $0.story(of: "c") } == nil)
    #expect(folder.counter("databus_dispatch_notes_total") == 5)
    #expect(folder.counter("databus_dispatch_notes_dropped_total") == 0)
    #expect(folder.lines.all == [])
  }

  @Test func aDeliveryThatComesAgainStaysWhatItWas() async throws {
    try await folder.write([note("a", .delivered), note("a", .duplicate), note("b", .duplicate)])
    let a = try #require(try await folder.read { try await $0.story(of: "a") })
    #expect(a.end.happening == .delivered && a.entries.count == 2)
    let b = try #require(try await folder.read { try await $0.story(of: "b") })
    #expect(b.end.happening == .duplicate && b.hasArrived)
  }

  @Test func theSecretPartOfAURLIsNotInTheFile() async throws {
    try await folder.write([note("a", .delivered)])
    for name in try FileManager.default.contentsOfDirectory(atPath: folder.url.path) {
      let content = try Data(contentsOf: folder.url.appendingPathComponent(name))
      #expect(content.range(of: Data("hush".utf8)) == nil, "\(name)")
    }
  }

  @Test func aResultThatCannotBeReadGoesByItsPlace() async throws {
    try await folder.write([note("", .dead, number: 7) { $0.reason = .poison }])
    #expect(try await folder.read { try await $0.story(of: "results-http/0/7") }?.end.reason == "poison")
  }

  @Test func aListIsNarrowedByDestinationRuleEventTimeAndEnd() async throws {
    let now = SystemClock().wallMilliseconds()
    try await folder.write([
      note("old", .delivered, at: now - 7_200_000),
      note("a", .failed, number: 1), note("b", .failed, to: "https://b.example/x", rule: "s", number: 2),
      note("a", .delivered, number: 1, attempts: 2),
      note("c", .dead, to: "https://b.example.org/", number: 3) { $0.reason = .exhausted },
      note("b", .duplicate, to: "https://b.example/x", rule: "s", number: 2),
    ])
    #expect(try await folder.stories() == ["b", "c", "a", "old"])
    #expect(try await folder.stories { $0.limit = 2 } == ["b", "c"])
    #expect(try await folder.stories { $0.destination = "https://b.example" } == ["b", "c"])
    #expect(try await folder.stories { $0.destination = "https://b.example/" } == ["b"])
    #expect(try await folder.stories { $0.destination = "https://b.example/y" } == [])
    #expect(try await folder.stories { $0.rule = "s" } == ["b"])
    #expect(try await folder.stories { $0.event = "events/0/1" } == ["a", "old"])
    #expect(try await folder.stories { $0.onlyFailed = true } == ["c", "b"])
    #expect(try await folder.stories { $0.since = now - 3_600_000 } == ["b", "c", "a"])
    #expect(
      try await folder.stories {
        $0.onlyFailed = true
        $0.rule = "r"
        $0.limit = 1
      } == ["c"])
  }

  @Test func textsFromOutsideAreKeptAsTheyAreAndCutWhereTheyAreLong() async throws {
    let strange = "'; DROP TABLE notes; --\u{0}\n\u{1B}[31m é"
    try await folder.write([
      note(strange, .failed, rule: strange) { $0.detail = strange + String(repeating: "x", count: 100_000) }
    ])
    let story = try #require(try await folder.read { try await $0.story(of: strange) })
    #expect(story.rule == strange)
    #expect(story.end.detail.hasPrefix(strange) && story.end.detail.utf8.count <= 1024)
    #expect(try await folder.stories { $0.rule = strange } == [strange])
  }
}
