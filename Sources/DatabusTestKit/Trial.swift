import Synchronization

/// The subject lacks what a case is about.
struct Skip: Error {
  var reason: String
}

/// A wait went past its bound.
struct Overdue: Error {
  var what: String
}

/// One run of one case: what it finds, and the bound of its waits.
final class Trial: Sendable {
  let name: String
  let timeout: Duration
  private let found = Mutex<[Violation]>([])

  init(name: String, timeout: Duration) {
    self.name = name
    self.timeout = timeout
  }

  var violations: [Violation] { found.withLock { $0 } }

  func report(_ what: String, at place: String = "") {
    let violation = Violation(name: name, what: what, place: place)
    found.withLock { $0.append(violation) }
  }

  func check(_ isTrue: Bool, _ what: @autoclosure () -> String, at place: String = "") {
    if !isTrue { report(what(), at: place) }
  }

  func checkEqual<T: Equatable>(_ is: T, _ expected: T, _ what: String, at place: String = "") {
    if `is` != expected { report("\(what) is \(`is`), not \(expected)", at: place) }
  }

  /// Records' values are shown as text.
  func checkEqual(_ is: [[UInt8]?], _ expected: [[UInt8]?], _ what: String, at place: String = "") {
    if `is` != expected { report("\(what) is \(`is`.map(show)), not \(expected.map(show))", at: place) }
  }

  func checkEqual(_ is: Set<[UInt8]?>, _ expected: Set<[UInt8]?>, _ what: String, at place: String = "") {
    if `is` != expected {
      report("\(what) is \(`is`.map(show).sorted()), not \(expected.map(show).sorted())", at: place)
    }
  }

  func require(_ isTrue: Bool, _ reason: String) throws {
    if !isTrue { throw Skip(reason: reason) }
  }

  func require<T>(_ value: T?, _ reason: String) throws -> T {
    guard let value else { throw Skip(reason: reason) }
    return value
  }

  /// Runs something that may never return. Past the bound it is cancelled and left behind.
  ///
  /// - Throws: `Overdue` past the bound.
  func within<R: Sendable>(_ what: String, _ body: @escaping @Sendable () async throws -> R) async throws -> R {
    let race = Race<R>()
    let timeout = timeout
    let runner = Task {
      do { race.end(.success(try await body())) } catch { race.end(.failure(error)) }
    }
    let alarm = Task {
      do { try await Task.sleep(for: timeout) } catch { return }
      race.end(.failure(Overdue(what: what)))
    }
    defer {
      alarm.cancel()
      runner.cancel()
    }
    return try await race.result()
  }
}

/// The first of several results counts.
private final class Race<R: Sendable>: Sendable {
  private struct State {
    var result: Result<R, any Error>?
    var waiter: CheckedContinuation<R, any Error>?
  }
  private let state = Mutex(State())

  func end(_ result: Result<R, any Error>) {
    let waiter = state.withLock { state -> CheckedContinuation<R, any Error>? in
      if state.result != nil { return nil }
      state.result = result
      let waiter = state.waiter
      state.waiter = nil
      return waiter
    }
    waiter?.resume(with: result)
  }

  func result() async throws -> R {
    try await withCheckedThrowingContinuation { waiter in
      let result = state.withLock { state in
        if state.result == nil { state.waiter = waiter }
        return state.result
      }
      if let result { waiter.resume(with: result) }
    }
  }
}

/// A value for people.
func show(_ value: [UInt8]?) -> String {
  guard let value else { return "nothing" }
  return value.isEmpty ? "an empty value" : String(decoding: value.prefix(40), as: UTF8.self)
}
