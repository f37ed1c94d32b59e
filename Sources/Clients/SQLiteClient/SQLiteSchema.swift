/// What a kind of file holds: who it belongs to, and the steps that lead from an empty file to the newest version.
///
/// The version is the number of steps taken, kept in the file's header (`user_version`); the owner is its `application_id`.
public struct SQLiteSchema: Sendable {
  /// Marks the file as this kind: four ASCII characters.
  public var applicationID: Int32
  /// For people: "a sqlite-log file".
  public var name: String
  /// Step n leads from version n to version n + 1.
  public var steps: [String]

  public var version: Int { steps.count }

  public init(applicationID: StaticString, name: String, steps: [String]) {
    self.applicationID = applicationID.withUTF8Buffer { $0.prefix(4).reduce(0) { $0 << 8 | Int32($1) } }
    self.name = name
    self.steps = steps
  }

  /// Refuses a file that is of another kind or of a newer version; changes nothing.
  ///
  /// - Returns: the version of the file; 0 for an empty one.
  @discardableResult
  public func check(_ connection: SQLiteConnection) throws(SQLiteError) -> Int {
    let path = connection.path
    // Tables, owner and version are looked at in one snapshot: a file that another process is just making is seen as empty or
    // as whole.
    let opensSnapshot = !connection.isInTransaction
    if opensSnapshot { try connection.beginReading() }
    defer { if opensSnapshot { connection.rollback() } }
    let tables = try connection.integer("SELECT count(*) FROM sqlite_schema") ?? 0
    let application = try connection.integer("PRAGMA application_id") ?? 0
    let version = Int(try connection.integer("PRAGMA user_version") ?? 0)
    if tables == 0, application == 0, version == 0 { return 0 }
    if application != Int64(applicationID) {
      throw SQLiteError(
        .notADatabase, path: path, "\(path) is a SQLite file, but not \(name): name another file.")
    }
    if version > self.version {
      throw SQLiteError(
        .newerSchema, path: path,
        "\(path) is of schema version \(version), and this release knows versions up to \(self.version): "
          + "run the newer release, or name another file.")
    }
    return version
  }

  /// Brings the file to the newest version in one transaction, or refuses it.
  public func migrate(_ connection: SQLiteConnection) throws {
    if try check(connection) == version { return }
    try connection.write {
      // Another process may have been first.
      let present = try check(connection)
      if present == version { return }
      for step in steps[present...] { try connection.execute(step) }
      try connection.execute("PRAGMA application_id = \(applicationID)")
      try connection.execute("PRAGMA user_version = \(version)")
    }
  }
}
