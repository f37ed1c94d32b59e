import SQLiteClient

extension SQLiteSchema {
  /// The table of a log of attempts.
  ///
  /// `number` grows by one with each note, so that the oldest are those with the smallest numbers. Times are milliseconds since 1970,
  /// `duration` is in microseconds, `happening` is `DeliveryNote.Happening` as text and `reason` `DispatchReason`.
  static let attempts = SQLiteSchema(
    applicationID: "DBal", name: "a Databus log of attempts",
    steps: [
      """
      CREATE TABLE notes (
        number INTEGER PRIMARY KEY,
        delivery TEXT NOT NULL,
        happening TEXT NOT NULL,
        at INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        destination TEXT NOT NULL,
        rule TEXT,
        event TEXT,
        result TEXT NOT NULL,
        status INTEGER,
        duration INTEGER,
        detail TEXT NOT NULL,
        reason TEXT,
        stream TEXT,
        due INTEGER
      ) STRICT;
      CREATE INDEX notes_by_delivery ON notes (delivery);
      CREATE INDEX notes_by_destination ON notes (destination, at);
      CREATE INDEX notes_by_event ON notes (event) WHERE event IS NOT NULL;
      """
    ])
}
