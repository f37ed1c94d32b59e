import DatabusCore
import Dispatcher
import Synchronization

/// Notes on their way from the desk to the file. Taking one never waits for the disk.
final class AttemptQueue: Sendable {
  struct Taken {
    var notes: [DeliveryNote]
    /// Notes dropped since the last call.
    var dropped: Int
    /// Nothing comes behind them.
    var isLast: Bool
  }

  private struct State {
    var notes: [DeliveryNote] = []
    var dropped = 0
    var isClosed = false
  }

  /// Tells that there is something where there was nothing.
  let signal = Signal()
  private let limit: Int
  private let dropped: Counter
  private let state = Mutex(State())

  /// - Parameter dropped: counts the notes for which there was no room.
  init(limit: Int, dropped: Counter) {
    self.limit = limit
    self.dropped = dropped
  }

  func add(_ notes: [DeliveryNote]) {
    let (isFirst, lost) = state.withLock { state in
      let room = state.isClosed ? 0 : min(notes.count, limit - state.notes.count)
      let isFirst = state.notes.isEmpty && room > 0
      if room == notes.count { state.notes += notes } else { state.notes += notes.prefix(room) }
      state.dropped += notes.count - room
      return (isFirst, notes.count - room)
    }
    if lost > 0 { dropped.add(UInt64(lost)) }
    if isFirst { signal.notify() }
  }

  func take() -> Taken {
    state.withLock { state in
      let taken = Taken(notes: state.notes, dropped: state.dropped, isLast: state.isClosed)
      state.notes = []
      state.dropped = 0
      return taken
    }
  }

  func close() {
    state.withLock { $0.isClosed = true }
    signal.notify()
  }

  /// The writer should hurry: there is little time to wait for more.
  var isUrgent: Bool { state.withLock { $0.isClosed || $0.notes.count > limit / 4 } }
  /// There is nothing to take, and something may come.
  var isEmpty: Bool { state.withLock { $0.notes.isEmpty && !$0.isClosed } }
  var isClosed: Bool { state.withLock { $0.isClosed } }
}
