import SQLiteClient

extension SQLiteSchema {
  /// The tables of a deduplication file.
  ///
  /// `deliveries.state`: 0 done, 1 claimed, 2 claimed with an earlier attempt whose outcome is unknown, 3 waiting, 4 stored, 5 dead. What is done
  /// has zeros in all columns but `expiry`, which take no room. Times are milliseconds since 1970. There is no index by expiry: rows
  /// are looked over in the order of their ids, page by page, which writes far fewer pages than it would.
  static let deduplication = SQLiteSchema(
    applicationID: "DBdd", name: "a Databus deduplication file",
    steps: [
      """
      CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
      CREATE TABLE deliveries (
        id BLOB PRIMARY KEY,
        state INTEGER NOT NULL,
        token INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        replays INTEGER NOT NULL,
        due INTEGER NOT NULL,
        expiry INTEGER NOT NULL
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE marks (
        kind TEXT NOT NULL,
        subject_kind TEXT NOT NULL,
        subject TEXT NOT NULL,
        at INTEGER NOT NULL,
        detail TEXT NOT NULL,
        PRIMARY KEY (kind, subject_kind, subject)
      ) STRICT, WITHOUT ROWID;
      """
    ])
}
