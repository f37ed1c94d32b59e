import SQLiteClient

extension SQLiteSchema {
  /// The tables of a state file.
  ///
  /// A scope's row stays when its state is removed: its epoch must never be given twice. `checkpoint_writer` tells a
  /// checkpoint that is applied again because its answer was lost from one of another session.
  static let state = SQLiteSchema(
    applicationID: "DBst", name: "a Databus state file",
    steps: [
      """
      CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
      CREATE TABLE scopes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        pipeline TEXT NOT NULL,
        is_partition INTEGER NOT NULL,
        stream TEXT NOT NULL,
        incarnation TEXT NOT NULL,
        partition INTEGER NOT NULL,
        epoch INTEGER NOT NULL DEFAULT 0,
        checkpoint INTEGER NOT NULL DEFAULT 0,
        checkpoint_writer TEXT NOT NULL DEFAULT '',
        UNIQUE (pipeline, is_partition, stream, incarnation, partition)
      ) STRICT;
      CREATE TABLE entries (
        scope INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (scope, key)
      ) STRICT, WITHOUT ROWID;
      """
    ])
}
