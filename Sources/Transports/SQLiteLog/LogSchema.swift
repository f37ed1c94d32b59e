import SQLiteClient

extension SQLiteSchema {
  /// The tables of a log file.
  ///
  /// Every partition of a topic has a table of its own (`log_<topic>_<partition>`), made with the partition: an append touches one
  /// B-tree, and a read is a range of row ids. Its ids are given by the appender from `partitions.next`, without a hole, and
  /// never twice: that says what AUTOINCREMENT would, at the price of one row a transaction instead of one a record.
  static let log = SQLiteSchema(
    applicationID: "DBlg", name: "a Databus log",
    steps: [
      """
      CREATE TABLE topics (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        incarnation TEXT NOT NULL,
        partitions INTEGER NOT NULL
      ) STRICT;
      CREATE TABLE partitions (
        topic INTEGER NOT NULL,
        number INTEGER NOT NULL,
        first INTEGER NOT NULL DEFAULT 1,
        next INTEGER NOT NULL DEFAULT 1,
        bytes INTEGER NOT NULL DEFAULT 0,
        last_timestamp INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (topic, number)
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE groups (
        topic INTEGER NOT NULL,
        name TEXT NOT NULL,
        generation INTEGER NOT NULL DEFAULT 0,
        owner TEXT,
        expires INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (topic, name)
      ) STRICT, WITHOUT ROWID;
      CREATE TABLE positions (
        topic INTEGER NOT NULL,
        name TEXT NOT NULL,
        number INTEGER NOT NULL,
        position INTEGER NOT NULL,
        metadata TEXT NOT NULL,
        PRIMARY KEY (topic, name, number)
      ) STRICT, WITHOUT ROWID;
      """
    ])

  static func logTable(_ topic: Int64, _ partition: Int) -> String { "log_\(topic)_\(partition)" }

  static func createLogTable(_ topic: Int64, _ partition: Int) -> String {
    """
    CREATE TABLE \(logTable(topic, partition)) (
      id INTEGER PRIMARY KEY,
      key BLOB,
      value BLOB,
      headers BLOB,
      timestamp INTEGER NOT NULL
    ) STRICT
    """
  }
}
