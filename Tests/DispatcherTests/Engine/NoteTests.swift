import DatabusCore
import Dispatcher
import Synchronization
import Testing

/// What the desk tells of deliveries, for people who ask later.
@Suite struct NoteTests {
  private final class Book: AttemptObserver {
    private let notes = Mutex<[DeliveryNote]>([])
    func note(_ notes: [DeliveryNote]) { self.notes.withLock { $0 += notes } }
    func notes(of id: String) -> [DeliveryNote] { notes.withLock { $0.filter { $0.id == id } } }
  }

  private let book = Book()

  private func run(_ fixture: DispatchFixture, _ settings: DispatchSettings = DispatchFixture.settings()) async throws {
    try await fixture.start(settings, stopsWhenIdle: true, observer: book).task.value
  }

  @Test func everyAttemptIsNotedWithItsAnswerAndItsEvent() async throws {
    let fixture = try await DispatchFixture { $0.attempts == 0 ? .status(503, $0) : .ok($0) }
    try fixture.result("a", to: "https://a.example/hook?token=hush")
    try await run(fixture)
    let notes = book.notes(of: "a")
    #expect(notes.map(\.happening) == [.failed, .delivered])
    #expect(notes.map(\.status) == [503, 200])
    #expect(notes.map(\.attempts) == [1, 2])
    #expect(notes.allSatisfy { $0.rule == "r" && $0.event == "e/0/1" && $0.result == "results-http/0/0" })
    #expect(notes.allSatisfy { $0.destination == "https://a.example/hook?…" })
    #expect(notes[0].at < notes[1].at)
  }

  @Test func aDeliveryThatComesAgainIsNoted() async throws {
    let fixture = try await DispatchFixture { $0.id == "a" ? .ok($0) : .rejected(.refused, 404, $0) }
    for id in ["a", "b"] { try fixture.result(id) }
    try await run(fixture)
    for id in ["a", "b"] { try fixture.result(id) }
    try await run(fixture)
    #expect(book.notes(of: "a").map(\.happening) == [.delivered, .duplicate])
    #expect(book.notes(of: "a").last?.detail == "it has arrived before")
    #expect(book.notes(of: "b").map(\.happening) == [.rejected, .dead, .duplicate])
    #expect(book.notes(of: "b").map(\.reason) == [nil, .refused, nil])
    #expect(book.notes(of: "b").map(\.status) == [404, nil, nil])
    #expect(book.notes(of: "b").last?.detail == "it was given up before")
  }

  @Test func aLongPauseIsNotedWithItsStreamAndItsEnd() async throws {
    let fixture = try await DispatchFixture { $0.attempts == 0 ? .status(503, $0, after: .seconds(90)) : .ok($0) }
    try fixture.result("a")
    let process = try fixture.start(observer: book)
    await eventually("it is delivered") { book.notes(of: "a").last?.happening == .delivered }
    try await process.stop()
    let notes = book.notes(of: "a")
    let stored = try #require(notes.first { $0.happening == .stored })
    let failed = try #require(notes.first)
    #expect(failed.happening == .failed)
    #expect(stored.stream == "results-http-retry-1m")
    let due = try #require(stored.due)
    // It was decided after the answer, and noted once the copy was safe.
    #expect(due - failed.at >= 90_000)
    // The copy is the same result.
    #expect(notes.allSatisfy { $0.result == "results-http/0/0" })
  }

  @Test func aResultThatCannotBeReadIsNotedByItsPlace() async throws {
    let fixture = try await DispatchFixture()
    try fixture.memory.append(to: "results-http", "no result")
    try await run(fixture)
    let notes = book.notes(of: "")
    #expect(notes.map(\.happening) == [.dead])
    #expect(notes.first?.reason == .poison && notes.first?.result == "results-http/0/0")
  }
}
