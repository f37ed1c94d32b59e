import DatabusCore
import Synchronization

/// What a source told, in words: `+events/0 1` assigned, `-` lost, `~` revoking, a record's value, `gap 2..4`, `idle`, `end`.
func tell(_ source: any EventSource, records: Int = 100, bytes: Int = 1 << 20, wait: Duration = .zero) async throws
  -> String
{
  let event = try await source.next(records: records, bytes: bytes, wait: wait)
  switch consume event {
  case .batch(let batch):
    return (0..<batch.count).map { text(batch, $0) }.joined(separator: " ")
  case .assigned(let assignments):
    return assignments.map { "+\($0.partition) \($0.generation)" }.joined(separator: " ")
  case .revoking(let assignments, _):
    return assignments.map { "~\($0.partition) \($0.generation)" }.joined(separator: " ")
  case .lost(let assignments):
    return assignments.map { "-\($0.partition) \($0.generation)" }.joined(separator: " ")
  case .gap(_, let from, let to): return "gap \(from)..<\(to)"
  case .passed(_, let position): return "passed \(position)"
  case .idle: return "idle"
  case .end: return "end"
  }
}

/// The value of one record of a batch.
func text(_ batch: borrowing RecordBatch, _ index: Int) -> String {
  let raw = batch[index].raw
  guard let value = raw.value else { return "tombstone" }
  return String(decoding: UnsafeRawBufferPointer(start: value, count: Int(raw.valueCount)), as: UTF8.self)
}

/// The assignments that the source tells now, sought to their first position.
func begin(_ source: any EventSource) async throws -> [Assignment] {
  let event = try await source.next(records: 1, bytes: 1, wait: .zero)
  switch consume event {
  case .assigned(let assignments):
    for assignment in assignments { try await source.seek(assignment, to: Position(next: 0)) }
    return assignments
  default: return []
  }
}

/// Remembers ends in the order in which they are told: the token, or the token and the error's class.
final class Ends: CompletionPort {
  private let state = Mutex<[String]>([])

  var told: [String] { state.withLock { $0 } }

  func complete(_ tokens: Span<UInt64>) {
    state.withLock { told in
      for index in tokens.indices { told.append("\(tokens[index])") }
    }
  }

  func fail(_ tokens: Span<UInt64>, _ error: TransportError) {
    let kind = error.class
    state.withLock { told in
      for index in tokens.indices { told.append("\(tokens[index]) \(kind)") }
    }
  }
}

/// A batch of texts; the tokens are their places.
func deliveries(_ texts: [String]) -> DeliveryBatch {
  var batch = DeliveryBatch()
  for (index, text) in texts.enumerated() {
    batch.append(key: nil, value: Array(text.utf8), timestamp: 5, token: UInt64(index))
  }
  return batch
}
