import DatabusCore
import SQLiteClient

/// The one connection to a state file, on a thread of its own: SQLite's calls block.
actor StateStore {
  private let path: String
  private let pipeline: String
  private let access: SQLiteState.Access
  private let worker = WorkerThread(name: "sqlite-state")
  private var lock: SQLiteWriterLock?
  private(set) var connection: SQLiteConnection?
  private var statements: StateStatements?

  nonisolated var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }

  init(path: String, pipeline: String, access: SQLiteState.Access) {
    self.path = path
    self.pipeline = pipeline
    self.access = access
  }

  deinit { worker.stop() }

  /// - Returns: the state's id.
  func open() throws -> String {
    try translated {
      switch access {
      case .writer: try openForWriting()
      case .reader: try openForReading()
      }
    }
  }

  private func openForWriting() throws -> String {
    let lock = try SQLiteWriterLock(
      path: path, user: "pipeline",
      rule: "a state file has one writer. End that process, or give this pipeline a state file of its own.")
    try SQLiteInspection.refuseLostFile(path, lastID: lock.lastID, content: "the state")
    let connection = try SQLiteConnection(path: path, access: .create)
    // The owner is asked first: nothing of a file that is not ours is changed.
    try SQLiteSchema.state.check(connection)
    try SQLiteInspection.check(connection)
    try connection.useWriteAheadLog(.normal)
    try SQLiteSchema.state.migrate(connection)
    let id = try connection.write {
      if let id = try connection.text("SELECT value FROM meta WHERE name = 'id'") { return id }
      let id = SQLiteInspection.newID()
      let insert = try connection.prepare("INSERT INTO meta (name, value) VALUES ('id', ?)")
      try insert.bind(1, id)
      try insert.run()
      return id
    }
    lock.write(id: id)
    statements = try StateStatements(connection)
    self.connection = connection
    self.lock = lock
    return id
  }

  private func openForReading() throws -> String {
    let connection = try SQLiteConnection(path: path, access: .readOnly)
    let version = try SQLiteSchema.state.check(connection)
    if version == 0 {
      throw StateError.unavailable("\(path) holds no state yet: its pipeline is starting, or was ended before it had.")
    }
    if version < SQLiteSchema.state.version {
      throw StateError.unusable(
        "\(path) is of schema version \(version), and reading needs \(SQLiteSchema.state.version): start the pipeline "
          + "once, which brings it up to date.")
    }
    guard let id = try connection.text("SELECT value FROM meta WHERE name = 'id'") else {
      throw StateError.unavailable("\(path) has no id yet: its pipeline is starting, or was ended before it had.")
    }
    statements = try StateStatements(connection)
    self.connection = connection
    return id
  }

  func close() {
    statements = nil
    connection = nil
    lock = nil
    worker.stop()
  }

  // MARK: Scopes

  func session(_ scope: StateScope) throws -> SQLiteStateSession {
    try translated {
      let (connection, statements) = try opened()
      if case .reader = access {
        return try statements.scope(pipeline, scope).map { session($0, scope) }
          ?? SQLiteStateSession(
            store: self, name: scope, scope: nil, epoch: 0, checkpoint: 0, writer: "")
      }
      return try connection.write {
        session(try statements.openScope(pipeline, scope), scope)
      }
    }
  }

  private func session(_ row: ScopeRow, _ scope: StateScope) -> SQLiteStateSession {
    switch scope {
    case .partition:
      SQLiteStateSession(
        store: self, name: scope, scope: row.id, epoch: row.epoch, checkpoint: row.checkpoint,
        writer: String(row.epoch))
    case .pipeline:
      SQLiteStateSession(
        store: self, name: scope, scope: row.id, epoch: 0, checkpoint: row.checkpoint, writer: SQLiteInspection.newID())
    }
  }

  func partitions() throws -> [PartitionID] {
    try translated { try opened().1.partitions(pipeline) }
  }

  func remove(_ partition: PartitionID) throws {
    try translated {
      let (connection, statements) = try opened()
      try refuseReader()
      try connection.write {
        guard let row = try statements.scope(pipeline, .partition(partition)) else { return }
        try statements.clear(row.id)
      }
    }
  }

  // MARK: Entries

  /// The row of the session's scope; a reader may have been there before the writer made it.
  private func row(of session: SQLiteStateSession, _ statements: StateStatements) throws -> Int64? {
    if let scope = session.scope { return scope }
    return try statements.scope(pipeline, session.name)?.id
  }

  func multiGet(_ keys: [[UInt8]], in session: SQLiteStateSession) throws -> [[UInt8]?] {
    try translated {
      let (connection, statements) = try opened()
      guard let scope = try row(of: session, statements) else { return keys.map { _ in nil } }
      return try connection.read { try keys.map { try statements.value($0, in: scope) } }
    }
  }

  func scan(_ session: SQLiteStateSession, prefix: [UInt8], after: [UInt8]?, limit: Int) throws -> StatePage {
    try translated {
      let statements = try opened().1
      guard let scope = try row(of: session, statements) else { return StatePage(entries: [], last: nil) }
      let entries = try statements.entries(scope, prefix: prefix, after: after, limit: limit)
      return StatePage(entries: entries, last: entries.count == limit ? entries.last?.key : nil)
    }
  }

  func apply(_ batch: WriteBatch, checkpoint: UInt64?, by session: SQLiteStateSession) throws {
    try translated {
      let (connection, statements) = try opened()
      try refuseReader()
      try connection.write {
        guard let scope = session.scope, let row = try statements.scope(id: scope) else {
          throw StateError.diverged("its scope is not in \(path) any more")
        }
        if case .partition = session.name, row.epoch != session.epoch { throw StateError.fenced }
        if let checkpoint {
          if row.checkpoint == checkpoint, row.checkpointWriter == session.writer { return }
          if row.checkpoint &+ 1 != checkpoint {
            throw StateError.diverged("checkpoint \(checkpoint) does not follow \(row.checkpoint), the last one stored")
          }
        }
        for (key, value) in batch.expectations where try statements.value(key, in: scope) != value {
          throw StateError.diverged(
            "the value of \(String(decoding: key, as: UTF8.self).debugDescription) is another one")
        }
        for key in batch.deletes { try statements.delete(key, in: scope) }
        for (key, value) in batch.puts { try statements.put(key, value, in: scope) }
        if let checkpoint { try statements.setCheckpoint(scope, checkpoint, session.writer) }
      }
    }
  }

  // MARK: Errors

  private func opened() throws -> (SQLiteConnection, StateStatements) {
    guard let connection, let statements else {
      throw StateError.unusable("\(path) was closed; open the state again.")
    }
    return (connection, statements)
  }

  private func refuseReader() throws {
    if case .reader = access {
      throw StateError.unusable("\(path) was opened for reading only; open it as its writer to change it.")
    }
  }

  private func translated<R>(_ body: () throws -> R) throws -> R {
    do {
      return try body()
    } catch let error as SQLiteError {
      throw StateError(error)
    }
  }
}

extension StateError {
  init(_ error: SQLiteError) {
    switch error.kind {
    case .busy, .full, .inputOutput, .other: self = .unavailable(error.message)
    case .readOnly, .corrupt, .notADatabase, .cannotOpen, .inUse, .newerSchema, .tooLarge, .constraint:
      self = .unusable(error.message)
    }
  }
}
