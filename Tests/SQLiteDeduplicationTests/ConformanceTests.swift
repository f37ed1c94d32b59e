import DatabusCore
import DatabusTestKit
import Dispatcher
import SQLiteDeduplication
import Testing

@Suite struct ConformanceTests {
  @Test(arguments: DeduplicationSuite.cases)
  func conforms(_ one: ConformanceCase<DeduplicationUnderTest>) async {
    let store = DeduplicationUnderTest("sqlite") {
      let folder = try DeduplicationFolder()
      let store = try await folder.open()
      var subject = DeduplicationSubject(
        store: store, short: .seconds(1), pass: { folder.clock.advance(by: $0) },
        reopenAfterKill: {
          let copy = try folder.afterKill()
          let store = try await copy.open()
          return FolderStore(store: store, folder: copy)
        })
      subject.tearDown = { await store.close() }
      return subject
    }
    #expect(await one.run(store) == .passed)
  }
}

/// A store that keeps its folder.
private struct FolderStore: DeduplicationStore {
  let store: SQLiteDeduplication
  let folder: DeduplicationFolder

  func process(_ requests: [DeduplicationRequest]) async throws -> [DeduplicationAnswer] {
    try await store.process(requests)
  }
  func states(of ids: [DeliveryID]) async throws -> [DeduplicationState?] {
    try await store.states(of: ids)
  }
  func marks() async throws -> [DispatchMark] { try await store.marks() }
  func set(_ mark: DispatchMark) async throws { try await store.set(mark) }
  func remove(_ subject: DispatchMark.Subject, _ kind: DispatchMark.Kind) async throws {
    try await store.remove(subject, kind)
  }
  func risks() async throws -> [String] { await store.risks() }
  func close() async { await store.close() }
}
