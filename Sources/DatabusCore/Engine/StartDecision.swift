/// What a checkpoint stores of one partition.
struct StoredPosition: Hashable, Sendable {
  var position: Position
  /// The rules that the records before it were routed with.
  var vector: RulesVector

  static let key = Array("position".utf8)

  /// A version byte, the position, the token where there is one, and the vector's text.
  func encoded() -> [UInt8] {
    var buffer = ByteBuffer(capacity: 128)
    buffer.append(1 as UInt8)
    buffer.appendBigEndian(position.next)
    let token = position.token ?? []
    buffer.appendBigEndian(UInt32(position.token == nil ? UInt32.max : UInt32(token.count)))
    buffer.append(token)
    buffer.append(vector.description)
    return Array(buffer.bytes)
  }

  init(position: Position, vector: RulesVector) {
    self.position = position
    self.vector = vector
  }

  /// Reads what `encoded` wrote; nil for anything else.
  init?(encoded bytes: [UInt8]) {
    guard bytes.count >= 13, bytes[0] == 1 else { return nil }
    let next = bytes[1..<9].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    let tokenCount = bytes[9..<13].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    var rest = bytes[13...]
    var token: [UInt8]?
    if tokenCount != .max {
      guard rest.count >= Int(tokenCount) else { return nil }
      token = Array(rest.prefix(Int(tokenCount)))
      rest = rest.dropFirst(Int(tokenCount))
    }
    guard let vector = RulesVector(String(decoding: rest, as: UTF8.self)) else { return nil }
    self.init(position: Position(next: next, token: token), vector: vector)
  }
}

/// What a commit's metadata says: which state backend's checkpoint it belongs to, and the rules it was routed with.
struct CommitMetadata: Hashable, Sendable {
  var backend: String
  var checkpoint: UInt64
  var vector: RulesVector

  var text: String { "\(backend)/\(checkpoint)/\(vector)" }

  init(backend: String, checkpoint: UInt64, vector: RulesVector) {
    self.backend = backend
    self.checkpoint = checkpoint
    self.vector = vector
  }

  init?(_ text: String) {
    let parts = text.split(separator: "/", maxSplits: 2, omittingEmptySubsequences: false)
    guard parts.count == 3, let checkpoint = UInt64(parts[1]), let vector = RulesVector(String(parts[2])) else {
      return nil
    }
    self.init(backend: String(parts[0]), checkpoint: checkpoint, vector: vector)
  }
}

/// Where a partition starts at its assignment: a pure decision.
enum StartDecision: Hashable, Sendable {
  case start(Position, because: Reason)
  /// Neither state nor commit: `events.start` decides.
  case noPosition
  /// Nobody can say: the partition waits for an operator.
  case park(String)

  enum Reason: Hashable, Sendable {
    case state
    case commit
    /// An operator's reset.
    case operatorsCommit
    /// Another backend's commit: where state is not shared, another process has had the partition meanwhile.
    case foreignCommit
    /// The state has lost writes that the commit knows of.
    case stateIsOlder
    /// There is a commit and no state.
    case noState
  }

  /// - Parameters:
  ///   - committed: what the transport holds; nil where nothing is, or where the transport does not keep commits.
  static func decide(
    stored: StoredPosition?, checkpoint: UInt64, backend: String, keepsCommits: Bool,
    committed: CommittedPosition?, partition: PartitionID
  ) -> StartDecision {
    guard keepsCommits else {
      return stored.map { .start($0.position, because: .state) } ?? .noPosition
    }
    guard let committed else {
      guard stored != nil else { return .noPosition }
      return .park(
        "the state has a position for \(partition), and the transport has no commit for it (the stream was re-created, or its commits have expired); set the position with \"databus positions set\", or remove this partition's state"
      )
    }
    guard let metadata = CommitMetadata(committed.metadata) else {
      return .start(committed.position, because: .operatorsCommit)
    }
    guard metadata.backend == backend else { return .start(committed.position, because: .foreignCommit) }
    guard let stored else {
      // Number 0 is committed before the first checkpoint.
      return .start(committed.position, because: metadata.checkpoint == 0 ? .commit : .noState)
    }
    if metadata.checkpoint <= checkpoint { return .start(stored.position, because: .state) }
    return .start(committed.position, because: .stateIsOlder)
  }
}
