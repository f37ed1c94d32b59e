import DatabusCore
import DatabusTestKit
import Synchronization

/// One thing that a backend does wrong, and the case that must find it.
enum StateDefect: String, CaseIterable, Sendable {
  case tearsBatches = "puts and deletes of a batch happen together"
  case checksOneExpectation = "a write whose expectation does not hold writes nothing"
  case letsZombiesWrite = "an older session is fenced"
  case skipsNumbers = "checkpoint numbers go up by one"
  case appliesRepeats = "the same checkpoint again changes nothing"
  case losesEmptyValues = "an empty value is not an absent one"
  case sortsByLength = "a scan is in the order of the keys' bytes"
  case stopsAtHighBytes = "a scan finds exactly the keys with the prefix"
  case omitsBetweenPages = "pages of a scan neither repeat nor omit"
  case cutsValues = "large values"
  case listsNothing = "scopes are apart, and partitions with state are listed"
  case removesNothing = "removed state is gone, and its session fenced"
  case forgetsNumberAtKill = "what was applied survives a kill"
  case ignoresBase = "the rule store is written only over its base"
}

/// A sound backend with one defect put over it.
final class BrokenState: StateBackend {
  private let base: any StateBackend
  private let defect: StateDefect
  private let isReopened: Bool
  private let lives = Mutex<[StateScope: Life]>([:])

  /// The sessions of a scope between two removals.
  struct Life: Sendable {
    var number = 0
    var newest: (any StateSession)?
  }

  init(_ base: any StateBackend, _ defect: StateDefect, isReopened: Bool = false) {
    self.base = base
    self.defect = defect
    self.isReopened = isReopened
  }

  /// The subject with this defect.
  static func subject(_ defect: StateDefect, _ sound: StateSubject) -> StateSubject {
    var subject = sound
    subject.backend = BrokenState(sound.backend, defect)
    if let reopen = sound.reopenAfterKill {
      subject.reopenAfterKill = { BrokenState(try await reopen(), defect, isReopened: true) }
    }
    return subject
  }

  var capabilities: StateCapabilities { base.capabilities }
  var id: String { base.id }

  func open(_ scope: StateScope) async throws -> any StateSession {
    let session = try await base.open(scope)
    let life = lives.withLock { lives in
      lives[scope, default: Life()].newest = session
      return lives[scope]?.number ?? 0
    }
    return BrokenSession(
      session, defect, scope, forgetsNumber: isReopened && defect == .forgetsNumberAtKill
    ) { [self] in
      lives.withLock { $0[scope]?.number == life ? $0[scope]?.newest : nil }
    }
  }

  func partitions() async throws -> [PartitionID] {
    defect == .listsNothing ? [] : try await base.partitions()
  }

  func remove(_ partition: PartitionID) async throws {
    lives.withLock { lives in
      let number = lives[.partition(partition)]?.number ?? 0
      lives[.partition(partition)] = Life(number: number + 1)
    }
    if defect != .removesNothing { try await base.remove(partition) }
  }

  func close() async { await base.close() }
}

private final class BrokenSession: StateSession {
  private let base: any StateSession
  private let defect: StateDefect
  private let scope: StateScope
  private let forgetsNumber: Bool
  private let newest: @Sendable () -> (any StateSession)?
  private let last: Mutex<UInt64>

  init(
    _ base: any StateSession, _ defect: StateDefect, _ scope: StateScope, forgetsNumber: Bool,
    newest: @escaping @Sendable () -> (any StateSession)?
  ) {
    self.base = base
    self.defect = defect
    self.scope = scope
    self.forgetsNumber = forgetsNumber
    self.newest = newest
    last = Mutex(base.checkpoint)
  }

  var epoch: UInt64 { base.epoch }
  var checkpoint: UInt64 { forgetsNumber ? 0 : base.checkpoint }

  func multiGet(_ keys: [[UInt8]]) async throws -> [[UInt8]?] {
    let found = try await base.multiGet(keys)
    return defect == .losesEmptyValues ? found.map { $0 == [] ? nil : $0 } : found
  }

  func scan(prefix: [UInt8], after: [UInt8]?, limit: Int) async throws -> StatePage {
    if defect == .stopsAtHighBytes, prefix.last == 0xff { return StatePage(entries: [], last: nil) }
    var page = try await base.scan(prefix: prefix, after: after, limit: limit)
    if defect == .sortsByLength {
      page.entries.sort {
        $0.key.count == $1.key.count
          ? $0.key.lexicographicallyPrecedes($1.key) : $0.key.count < $1.key.count
      }
    }
    if defect == .omitsBetweenPages, after != nil, !page.entries.isEmpty { page.entries.removeFirst() }
    return page
  }

  func apply(_ batch: WriteBatch, checkpoint: UInt64?) async throws {
    var batch = batch
    switch defect {
    case .tearsBatches: if !batch.puts.isEmpty { batch.deletes = [] }
    case .checksOneExpectation: batch.expectations = Array(batch.expectations.prefix(1))
    case .ignoresBase: if scope == .pipeline { batch.expectations = [] }
    case .cutsValues: batch.puts = batch.puts.map { ($0.key, Array($0.value.prefix(100_000))) }
    case .letsZombiesWrite:
      if let newest = newest(), newest.epoch != epoch { return try await newest.apply(batch, checkpoint: checkpoint) }
    case .appliesRepeats:
      if let checkpoint, checkpoint == last.withLock({ $0 }) {
        batch.expectations = []
        return try await base.apply(batch, checkpoint: nil)
      }
    case .skipsNumbers:
      if let checkpoint, checkpoint > last.withLock({ $0 }) + 1 {
        return try await base.apply(batch, checkpoint: nil)
      }
    default: break
    }
    try await base.apply(batch, checkpoint: checkpoint)
    if let checkpoint { last.withLock { $0 = checkpoint } }
  }

  func close() async { await base.close() }
}
