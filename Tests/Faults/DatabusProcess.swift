import Foundation
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// A child process with its output in files.
final class DatabusProcess: Sendable {
  enum End: Hashable, Sendable {
    case exited(Int32)
    case killed(signal: Int32)
  }

  let id: pid_t
  private let errorPath: String
  private let outputPath: String

  private struct State {
    var end: End?
    var waiters: [CheckedContinuation<End, Never>] = []
    var isOverdue = false
  }
  private let state = Mutex(State())

  /// - Parameters:
  ///   - words: the program and its arguments.
  ///   - environment: on top of the tests' own.
  init(_ words: [String], environment: [String: String], outputPath: String, errorPath: String) throws {
    self.errorPath = errorPath
    self.outputPath = outputPath
    var all = ProcessInfo.processInfo.environment
    for name in all.keys where name.hasPrefix("DATABUS_") { all[name] = nil }
    all.merge(environment) { $1 }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    let flags = O_WRONLY | O_CREAT | O_TRUNC
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, outputPath, flags, 0o600)
    posix_spawn_file_actions_addopen(&actions, 2, errorPath, flags, 0o600)
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    var variables: [UnsafeMutablePointer<CChar>?] = all.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in arguments + variables { free(text) } }
    var id: pid_t = 0
    let code = posix_spawn(&id, words[0], &actions, nil, &arguments, &variables)
    guard code == 0 else {
      throw HarnessError("\(words[0]) cannot be started: \(String(cString: strerror(code)))")
    }
    self.id = id
    let child = id
    Thread.detachNewThread { [self] in
      var information = siginfo_t()
      while waitid(P_PID, id_t(child), &information, WEXITED | WNOWAIT) != 0, errno == EINTR {}
      // Collected under the lock: no signal goes to an id that belongs to somebody else by then.
      let (end, waiters) = state.withLock { state in
        var status: Int32 = 0
        waitpid(child, &status, 0)
        let signal = status & 0x7F
        let end = signal == 0 ? End.exited((status >> 8) & 0xFF) : End.killed(signal: signal)
        state.end = end
        defer { state.waiters = [] }
        return (end, state.waiters)
      }
      for waiter in waiters { waiter.resume(returning: end) }
    }
  }

  var hasEnded: Bool { state.withLock { $0.end != nil } }

  /// What it has written to standard error so far.
  var errors: String { (try? String(contentsOfFile: errorPath, encoding: .utf8)) ?? "" }
  var output: String { (try? String(contentsOfFile: outputPath, encoding: .utf8)) ?? "" }

  func signal(_ signal: Int32) {
    state.withLock { state in if state.end == nil { _ = kill(id, signal) } }
  }

  /// Waits for the end.
  ///
  /// - Throws: where it is still there after `limit`; it is killed then.
  func end(within limit: Duration = .seconds(90)) async throws -> End {
    let watchdog = Task {
      try await Task.sleep(for: limit)
      state.withLock { $0.isOverdue = true }
      signal(SIGKILL)
    }
    defer { watchdog.cancel() }
    let end = await withCheckedContinuation { continuation in
      let end = state.withLock { state in
        if state.end == nil { state.waiters.append(continuation) }
        return state.end
      }
      if let end { continuation.resume(returning: end) }
    }
    if state.withLock({ $0.isOverdue }) {
      throw HarnessError("the process did not end within \(limit); it said: \(errors.suffix(2000))")
    }
    return end
  }

  /// Waits until `condition` holds.
  ///
  /// - Throws: where the process ends before, or `limit` has passed.
  func wait(
    _ what: String, within limit: Duration = .seconds(60), _ condition: () async throws -> Bool
  ) async throws {
    if try await !waitOrEnd(what, within: limit, condition) {
      throw HarnessError("the process ended before \(what); it said: \(errors.suffix(2000))")
    }
  }

  /// Waits until `condition` holds or the process ends: false where it did, and the condition does not hold.
  func waitOrEnd(
    _ what: String, within limit: Duration = .seconds(60), _ condition: () async throws -> Bool
  ) async throws -> Bool {
    let deadline = ContinuousClock.now + limit
    while try await !condition() {
      if hasEnded { return false }
      if ContinuousClock.now >= deadline {
        throw HarnessError("\(what) did not happen within \(limit); the process said: \(errors.suffix(2000))")
      }
      // Another process is looked at: there is nothing in this one to wait for.
      try await Task.sleep(for: .microseconds(300))
    }
    return true
  }
}
