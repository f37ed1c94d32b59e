import Dispatcher
import SQLiteClient

/// The SQL over marks. They are few and change seldom: compiled at each use.
struct MarkStatements {
  let connection: SQLiteConnection

  func all() throws -> [DispatchMark] {
    var marks: [DispatchMark] = []
    try connection.prepare("SELECT kind, subject_kind, subject, at, detail FROM marks").eachRow { row in
      let (kind, subjectKind, subject) = (row.text(0) ?? "", row.text(1) ?? "", row.text(2) ?? "")
      guard let kind = DispatchMark.Kind(rawValue: kind), let subject = MarkStatements.subject(subjectKind, subject)
      else {
        throw DeduplicationError.unusable(
          "\(connection.path) holds a mark of a newer release (\(kind) of a \(subjectKind)): run that release, or remove the mark."
        )
      }
      marks.append(DispatchMark(subject, kind, at: row.integer(3), detail: row.text(4) ?? ""))
    }
    return marks
  }

  func put(_ mark: DispatchMark) throws(SQLiteError) {
    let statement = try connection.prepare(
      "INSERT OR REPLACE INTO marks (kind, subject_kind, subject, at, detail) VALUES (?, ?, ?, ?, ?)")
    try bind(statement, mark.subject, mark.kind)
    try statement.bind(4, mark.at)
    try statement.bind(5, mark.detail)
    try statement.run()
  }

  func remove(_ subject: DispatchMark.Subject, _ kind: DispatchMark.Kind) throws(SQLiteError) {
    let statement = try connection.prepare("DELETE FROM marks WHERE kind = ? AND subject_kind = ? AND subject = ?")
    try bind(statement, subject, kind)
    try statement.run()
  }

  private func bind(
    _ statement: SQLiteStatement, _ subject: DispatchMark.Subject, _ kind: DispatchMark.Kind
  ) throws(SQLiteError) {
    try statement.bind(1, kind.rawValue)
    switch subject {
    case .destination(let url):
      try statement.bind(2, "destination")
      try statement.bind(3, url)
    case .rule(let id):
      try statement.bind(2, "rule")
      try statement.bind(3, id)
    }
  }

  private static func subject(_ kind: String, _ text: String) -> DispatchMark.Subject? {
    switch kind {
    case "destination": .destination(text)
    case "rule": .rule(text)
    default: nil
    }
  }
}
